import { monotonicMs } from '@lockstep/core';
import { inTurnOrder, type MessageEnvelope } from '@lockstep/outbox';
import type { Parcel } from './parcel.js';

/** How long past its time a message that comes back is waited for: it may have gone to another process. */
const GRACE_MS = 2_000;
/** The one that is waited for must be there first, although both come at the same time. */
const BEHIND_MS = 20;

interface Coming {
  readonly message: Pick<MessageEnvelope, 'topic' | 'key' | 'headers'>;
  /** Its number in the stream. */
  readonly number: number;
  /** By the local clock. */
  readonly at: number;
}

/**
 * Keys of which a message comes back to this process: later ones of the key must not overtake it. Which is later, the
 * order of the stream says, and of two strict ones their sequence: a strict one comes back until its predecessor took
 * effect, so that one must never wait for it.
 */
export class ComingKeys {
  /** Key → number → what comes. */
  private readonly comingOf = new Map<string, Map<number, Coming>>();
  private forgottenAt = monotonicMs();

  expect({ message: { topic, key, headers }, ticket }: Parcel, delayMs: number): void {
    if (key === undefined) return;
    this.forgetLate();
    let coming = this.comingOf.get(key);
    if (!coming) {
      coming = new Map();
      this.comingOf.set(key, coming);
    }
    const number = ticket.sequence;
    coming.set(number, { message: { topic, key, headers }, number, at: monotonicMs() + delayMs });
  }

  arrived({ key, ticket }: Parcel): void {
    if (key !== undefined) this.forget(key, ticket.sequence);
  }

  /** How long a message must stay away so that it comes behind those of its key; `undefined` when it may go on. */
  waitOf(parcel: Parcel): number | undefined {
    const { key } = parcel;
    const coming = key === undefined ? undefined : this.comingOf.get(key);
    if (key === undefined || !coming) return undefined;
    const now = monotonicMs();
    const ahead = [...coming.values()].filter((one) => now <= one.at + GRACE_MS && isAhead(one, parcel));
    return ahead.length === 0 ? undefined : Math.max(...ahead.map(({ at }) => at - now), 0) + BEHIND_MS;
  }

  private forget(key: string, number: number): void {
    const coming = this.comingOf.get(key);
    if (coming?.delete(number) === true && coming.size === 0) this.comingOf.delete(key);
  }

  /** What went to another process is never seen to arrive here. */
  private forgetLate(): void {
    const now = monotonicMs();
    if (now < this.forgottenAt + GRACE_MS) return;
    this.forgottenAt = now;
    for (const [key, coming] of this.comingOf) {
      for (const { number, at } of coming.values()) if (at + GRACE_MS < now) this.forget(key, number);
    }
  }
}

function isAhead(one: Coming, { message, ticket }: Parcel): boolean {
  const other = { message, number: ticket.sequence };
  const accepted = one.number < other.number ? [one, other] : [other, one];
  return inTurnOrder<Pick<Coming, 'message' | 'number'>>(accepted, (item) => item.message)[0] === one;
}
