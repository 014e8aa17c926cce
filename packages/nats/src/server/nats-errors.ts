import { JetStreamApiError } from '@nats-io/jetstream';
import { ClosedConnectionError, RequestError } from '@nats-io/transport-node';

/** Numbers by which JetStream tells its refusals apart. */
export const API_ERROR = { messageTooLarge: 10_054, streamExists: 10_058 } as const;

/** Whether nobody at the server listened: no such stream or consumer, or JetStream is not yet up. */
export function hadNoResponders(thrown: unknown): boolean {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    if (error instanceof RequestError && error.isNoResponders()) return true;
  }
  return false;
}

export function isApiError(thrown: unknown, code: number): boolean {
  return thrown instanceof JetStreamApiError && thrown.code === code;
}

/** Whether a command surely had no effect: it was refused, or nobody was there to take it. */
export function isRefusal(thrown: unknown): boolean {
  return thrown instanceof JetStreamApiError || thrown instanceof ClosedConnectionError || hadNoResponders(thrown);
}
