interface Contact {
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** What a silence of the present length asks for. */
export type SilenceStep = 'none' | 'ask' | 'change-server' | 'end';

// Shares of the session timeout. The first three count from when the latest answered request was sent.
const ASK_AT = 1 / 6;
const CHANGE_SERVER_AT = 1 / 3;
const END_AT = 1;
/** A follower tells the leader of its clients once in half a tick, and a session lasts two ticks at least. */
const TOLD_AFTER = 1 / 4;
/** Holders are told this long before the lock could be another's, which leaves them time to stop. */
const WARN_BEFORE = 1 / 12;
/** Contacts closer to each other than this count as the earlier one. */
const GRAIN = 1 / 24;

/**
 * Since when the leader counts a session's silence, and what that means for its locks. All times are monotonic.
 *
 * A write that a follower passes on does not touch the session; the leader learns of the client when the follower tells,
 * and never does of the latest contacts when the follower ends. So only a contact counts that was answered a quarter of
 * the timeout before another one was sent: the follower lived on and has told of it, whatever becomes of it now. With a
 * question every sixth that contact is a third of the timeout old, so what is held is safe for two thirds from the latest.
 */
export class SessionClock {
  /** As ZooKeeper has granted it. */
  timeoutMs: number;
  private heardOf: number;
  /** The leader counts from here, or from later. */
  private countedFrom: number;
  private untold: Contact[] = [];

  /** @param openedAt before the request for the session, which the leader itself grants */
  constructor(openedAt: number, timeoutMs: number) {
    this.heardOf = openedAt;
    this.countedFrom = openedAt;
    this.timeoutMs = timeoutMs;
  }

  /** Until then ZooKeeper gives away nothing that the session holds. */
  get sureUntil(): number {
    return this.countedFrom + this.timeoutMs;
  }

  /** When holders must be told. */
  get warnAt(): number {
    return this.sureUntil - this.timeoutMs * WARN_BEFORE;
  }

  /** The quorum has answered what was sent at `sentAt`. */
  hear(sentAt: number, answeredAt: number): void {
    if (sentAt < this.heardOf) return;
    this.heardOf = sentAt;
    const told = this.untold.filter((contact) => contact.answeredAt + this.timeoutMs * TOLD_AFTER <= sentAt);
    this.countedFrom = told.at(-1)?.sentAt ?? this.countedFrom;
    this.untold = this.untold.slice(told.length);
    const latest = this.untold.at(-1)?.sentAt ?? Number.NEGATIVE_INFINITY;
    if (sentAt >= latest + this.timeoutMs * GRAIN) this.untold.push({ sentAt, answeredAt });
  }

  stepAt(now: number): SilenceStep {
    const share = (now - this.heardOf) / this.timeoutMs;
    if (share >= END_AT) return 'end';
    if (share >= CHANGE_SERVER_AT) return 'change-server';
    return share >= ASK_AT ? 'ask' : 'none';
  }

  /** When the next step is due, or the warning. */
  nextAfter(now: number): number {
    const steps = [ASK_AT, CHANGE_SERVER_AT, END_AT].map((share) => this.heardOf + share * this.timeoutMs);
    return Math.min(...[...steps, this.warnAt].filter((at) => at > now));
  }
}
