import { monotonicMs, StoreUnavailableError } from '@lockstep/core';
import type { RedisConnection } from '@lockstep/redis';
import type { AcquireRequest, Busy, Grant } from '../../lock-store.js';
import type { LockPush, LockPushes, PushListener } from './lock-pushes.js';
import type { LockRevocations } from './lock-revocations.js';
import type { AcquireReply, LockScripts } from './lock-scripts.js';
import { LockWish } from './lock-wish.js';

/** What all acquisitions of a store share. */
export interface AcquisitionHost {
  readonly connection: RedisConnection;
  readonly scripts: LockScripts;
  readonly revocations: LockRevocations;
  readonly pushes: LockPushes;
  /** Those that did not get the lock at once, so that closing the store can end them. */
  readonly waiting: Set<LockAcquisition>;
  isClosed: boolean;
  /** Notes a granted token that a late copy of its request, or a late push, may name again. */
  noteEcho(token: string, notAfterMs: number, until: number): void;
}

/** How often a request may be refused as late, each time with a better idea of the server's clock. */
const MOST_LATE = 3;
/** Pauses between requests that fail, doubling: a server that refuses at once would be asked as fast as it can refuse. */
const FIRST_PAUSE_MS = 25;
const LONGEST_PAUSE_MS = 1_000;
/** Of those who wait for the same lease to end, not all should ask in the same millisecond. */
const SPREAD_MS = 20;

/**
 * One wish for a lock.
 *
 * ```
 * asking --granted--> done
 *        --busy, no wait--> done
 *        --busy, not heard yet--> opening the channel --> asking
 *        --busy--> queued --push: granted--> done (over on arrival --> asking)
 *                         --push: look again in n ms--> queued, with that timer
 *                         --timer | deaf for a moment--> asking with the same token: it keeps its place
 *        --answer lost, wait left--> asking with the same token (the script knows its owner)
 *        --answer lost, wait over--> given up
 * any    --give up (signal, close, wait over)--> the token is revoked until no request of its can be granted
 * ```
 * A pushed grant has no request that anchors its deadline. It is counted from the latest answer, of which both times
 * are known: `sent(local) + (push - answer)(server) + lease`; and never later than from its arrival.
 */
export class LockAcquisition implements PushListener {
  private readonly giveUpAt: number;
  private readonly wish: LockWish;
  private answer: { readonly sentAt: number; readonly serverMs: number } | undefined;
  private isAmbiguous = false;
  private isAsking = false;
  private isGivenUp = false;
  /** When it is worth asking again, if no push comes before. */
  private wakeAt = 0;
  /** The same, as it was pushed since the latest request was sent: a push may overtake the answer, which is older. */
  private toldAt = Number.POSITIVE_INFINITY;
  private pushed: { readonly push: LockPush; readonly arrivedAt: number } | undefined;
  private wake: () => void = () => undefined;

  constructor(
    private readonly lock: string,
    private readonly request: AcquireRequest,
    private readonly host: AcquisitionHost,
  ) {
    this.giveUpAt = request.waitMs === 0 ? 0 : monotonicMs() + request.waitMs;
    this.wish = new LockWish(lock, request, host.connection, host.pushes);
  }

  /** The first answer is nearly always a grant, and then all there is to do. */
  run(): Promise<Grant | Busy> {
    const first = this.send();
    return first.answered.then(
      (reply) => {
        if (reply.status !== 'granted' || this.wish.isQueued || this.isGivenUp) return this.goOn(first);
        this.isAsking = false;
        return { status: 'granted', fence: reply.fence, deadline: first.sentAt + this.request.ttlMs };
      },
      () => this.goOn(first),
    );
  }

  private async goOn(attempt: Attempt): Promise<Grant | Busy> {
    const { waiting, pushes, isClosed } = this.host;
    waiting.add(this);
    // The store was closed while the first request was on its way: nobody else ends this wait.
    if (isClosed) this.giveUp();
    try {
      const first = await this.ask(attempt);
      if (first.status === 'granted' || this.isOver()) return this.conclude(first);
      return this.conclude(await this.waitForTurn(first));
    } catch (error) {
      this.revokeIf(this.isAmbiguous || this.wish.isQueued);
      if (this.isGivenUp) return { status: 'busy', remainingMs: 0 };
      throw error;
    } finally {
      waiting.delete(this);
      if (this.wish.isQueued) pushes.leave(this.request.token);
    }
  }

  /** Stops waiting; what a request in flight still gets is taken back, and `run()` ends as busy. */
  giveUp(): void {
    if (this.isGivenUp) return;
    this.isGivenUp = true;
    this.revokeIf(this.isAsking || this.isAmbiguous || this.wish.isQueued);
    this.wake();
  }

  onPush(push: LockPush): void {
    const now = monotonicMs();
    if (push.fence === undefined) this.lookAt(now + push.ms);
    else this.pushed = { push, arrivedAt: now };
    this.wake();
  }

  onDeaf(): void {
    this.lookAt(0);
    this.wake();
  }

  /** For an outcome that nobody takes: a grant goes back. */
  discard(outcome: Grant | Busy): void {
    this.revokeIf(outcome.status === 'granted');
  }

  private lookAt(at: number): void {
    this.wakeAt = Math.min(this.wakeAt, at);
    this.toldAt = Math.min(this.toldAt, at);
  }

  private async waitForTurn(first: Busy): Promise<Grant | Busy> {
    if (!this.wish.isQueued) {
      await this.host.pushes.open();
      this.wakeAt = 0;
    }
    let last = first;
    for (;;) {
      const grant = this.takePush();
      if (grant) return grant;
      if (this.isOver()) return last;
      if (monotonicMs() < this.wakeAt) {
        await this.sleep(this.wakeAt);
        continue;
      }
      const outcome = await this.ask();
      if (outcome.status === 'granted') return outcome;
      last = outcome;
    }
  }

  /** The lock as it was pushed; one whose lease was over on arrival is asked for again. */
  private takePush(): Grant | undefined {
    const { pushed, answer } = this;
    if (!pushed || !answer) return undefined;
    this.pushed = undefined;
    const { push, arrivedAt } = pushed;
    // Never later than from the arrival: the server's clock may have been set between the two times.
    const grantedAt = Math.min(answer.sentAt + (push.serverMs - answer.serverMs), arrivedAt);
    const deadline = grantedAt + push.ms;
    if (push.fence !== undefined && monotonicMs() < deadline) return { status: 'granted', fence: push.fence, deadline };
    this.wakeAt = 0;
    return undefined;
  }

  private sleep(until: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(until, this.giveUpAt) - monotonicMs());
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private isOver(): boolean {
    return this.isGivenUp || this.request.waitMs === 0 || monotonicMs() >= this.giveUpAt;
  }

  /** One definite answer, however many requests it takes. */
  private async ask(first = this.send()): Promise<Grant | Busy> {
    let attempt = first;
    let pauseMs = FIRST_PAUSE_MS;
    for (let late = 0; ; attempt = this.send()) {
      const { sentAt, answered } = attempt;
      try {
        const reply = await answered;
        if (reply.status === 'busy') return this.noteBusy(reply, sentAt);
        if (reply.status === 'granted') {
          return { status: 'granted', fence: reply.fence, deadline: sentAt + this.request.ttlMs };
        }
        late += 1;
        // Who has a place in the queue waits for a slow server as for one that is away.
        if (late >= MOST_LATE && (!this.answer || this.isOver())) break;
        if (late >= MOST_LATE) await this.sleep(monotonicMs() + LONGEST_PAUSE_MS);
      } catch (error) {
        if (isOutcomeUnknown(error)) this.isAmbiguous = true;
        // Who has a place in the queue outlasts a failover; who has none yet is told of the outage at once.
        else if (!this.answer || !isStoreUnavailable(error)) throw error;
        if (this.isOver()) throw error;
        this.isAsking = false;
        await this.sleep(monotonicMs() + pauseMs);
        pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
        if (this.isOver()) throw error;
      } finally {
        this.isAsking = false;
      }
    }
    const cause = new Error('the request reached the server too late');
    throw new StoreUnavailableError({ store: 'redis', operation: 'lock.acquire', outcome: 'not-applied', cause });
  }

  private send(): Attempt {
    const sentAt = monotonicMs();
    this.isAsking = true;
    this.toldAt = Number.POSITIVE_INFINITY;
    return { sentAt, answered: this.host.scripts.acquire.run(this.wish.next(this.giveUpAt, this)) };
  }

  private noteBusy({ remainingMs, serverMs }: Busy & { readonly serverMs: number }, sentAt: number): Busy {
    if (this.wish.isQueued) {
      this.answer = { sentAt, serverMs };
      this.wish.noteQueued(serverMs);
      this.wakeAt = Math.min(this.toldAt, monotonicMs() + remainingMs + 1 + Math.random() * SPREAD_MS);
    }
    return { status: 'busy', remainingMs };
  }

  private conclude(outcome: Grant | Busy): Grant | Busy {
    if (this.isGivenUp) {
      this.discard(outcome);
      return { status: 'busy', remainingMs: 0 };
    }
    const mayEcho = this.isAmbiguous || this.wish.isQueued;
    if (outcome.status === 'busy') this.revokeIf(mayEcho);
    else if (mayEcho)
      this.host.noteEcho(this.request.token, this.isAmbiguous ? this.wish.notAfterMs : 0, outcome.deadline);
    return outcome;
  }

  private revokeIf(isNeeded: boolean): void {
    if (!isNeeded) return;
    const { connection, revocations } = this.host;
    // A request that was answered has no copy that could still arrive.
    const notAfterMs = this.isAmbiguous || this.isAsking ? this.wish.notAfterMs : 0;
    const leftMs = Math.max(notAfterMs - connection.serverTimeMs(), 0);
    const uselessAt = monotonicMs() + leftMs + this.request.ttlMs;
    revocations.add({ lock: this.lock, token: this.request.token, notAfterMs, uselessAt });
  }
}

function isStoreUnavailable(error: unknown): error is StoreUnavailableError {
  return error instanceof StoreUnavailableError;
}

function isOutcomeUnknown(error: unknown): boolean {
  return isStoreUnavailable(error) && error.outcome === 'unknown';
}

/** One request, and when it was sent. */
interface Attempt {
  readonly sentAt: number;
  readonly answered: Promise<AcquireReply>;
}
