import type { Delivery, DeliveryOutcome } from '../message-transport.js';
import type { Sequence } from '../sequence.js';
import type { BlockedKeys } from './blocked-keys.js';
import { laneOf, type Place, placeOf } from './turn.js';

export interface Sorted {
  /** Their turn may have come: the gate is to be asked. */
  readonly due: readonly Delivery[];
  readonly early: ReadonlyMap<Delivery, DeliveryOutcome>;
}

/** @param deliveries those of a strict key in their sequence: each may follow on the one before it */
export function withoutEarly(deliveries: readonly Delivery[], blocked: BlockedKeys): Sorted {
  const early = new Map<Delivery, DeliveryOutcome>();
  if (blocked.isEmpty) return { due: deliveries, early };
  const reached = new Map<string, Sequence>();
  for (const delivery of deliveries) {
    const place = placeOrNone(delivery);
    if (!place) continue;
    const lane = laneOf(place);
    const still = blocked.stillEarly(place, reached.get(lane));
    if (still) early.set(delivery, { outcome: 'postpone', ...still });
    else reached.set(lane, place.sequence);
  }
  return { due: deliveries.filter((delivery) => !early.has(delivery)), early };
}

/** Undefined for what is not strict, and for what cannot be read: it is given up for that, not here. */
export function placeOrNone({ message }: Delivery): Place | undefined {
  try {
    return placeOf(message);
  } catch {
    return undefined;
  }
}
