import { setMaxListeners } from 'node:events';
import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { AbandonedChecks } from './abandoned-checks.js';
import { CheckOutcomes } from './check-outcomes.js';
import { type CheckAnswer, type DueCheck, type PreparedMessageStore, TOMBSTONE } from './prepared-message-store.js';
import { type Check, TransactionalHandlers } from './transactional-handlers.js';

/** Of each check, asked at a time; each may take a connection. */
const SLOTS = 4;
const LONGEST_CHECK_MS = 30_000;
const ANSWERS: readonly unknown[] = ['commit', 'rollback', 'unknown'] satisfies CheckAnswer[];

interface Slots {
  taken: number;
  /** Whether more was due than they could take. */
  isShort: boolean;
}

/**
 * Asks the checks of the application about half messages of which nobody has told how their work ended. Any number of these
 * may run at a time, anywhere: the store gives a due message to one of them, and sets the next check in the same step.
 * Whoever dies here leaves it to the next check. Each check has slots of its own and nobody waits for an answer, so one
 * that hangs holds up no other.
 *
 * ```
 * due --a slot is free--> asked --commit--> committed
 *                               --rollback--> rolled-back, if old enough
 *                               --rollback too early | rejects | too slow--> unknown
 *                               --stopped meanwhile--> due again, the answer is not heard
 *     --unknown, not the last--> due again
 *     --unknown, the last--> undecided, parked, reported
 * ```
 */
@Injectable()
export class CheckBackPass {
  private readonly store: PreparedMessageStore;
  private readonly slots = new Map<string, Slots>();
  private readonly asking = new Set<Promise<void>>();
  private readonly stopping = new AbortController();
  private onFree: () => void = () => undefined;

  constructor(
    @Inject(OUTBOX_STORE) store: OutboxStore,
    @Inject(TransactionalHandlers) private readonly handlers: TransactionalHandlers,
    @Inject(CheckOutcomes) private readonly outcomes: CheckOutcomes,
    @Inject(AbandonedChecks) private readonly abandoned: AbandonedChecks,
  ) {
    this.store = store.prepared;
    // All slots of all checks listen.
    setMaxListeners(0, this.stopping.signal);
  }

  /** Begins to ask, and does not wait for the answers. @returns whether there may be more to do at once @throws StoreUnavailableError */
  async run(): Promise<boolean> {
    const waiting = (await this.store.waiting()).filter(({ checker }) => checker !== TOMBSTONE);
    for (const { checker } of waiting) {
      const check = this.handlers.checkOf(checker);
      if (check) await this.fillSlots(checker, check);
    }
    return this.abandoned.run(waiting.filter(({ checker }) => !this.handlers.checkOf(checker)));
  }

  /** Calls `listener` whenever a slot is free again for which more was due. */
  whenFree(listener: () => void): void {
    this.onFree = listener;
  }

  /** Until everything that is being asked is answered, and decided. */
  async settled(): Promise<void> {
    while (this.asking.size > 0) await Promise.all(this.asking);
  }

  /** Hears no more answers and asks nothing more. Resolves when what was heard before is decided. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.settled();
  }

  private async fillSlots(checker: string, check: Check): Promise<void> {
    const slots = this.slotsOf(checker);
    const free = SLOTS - slots.taken;
    if (free <= 0) return;
    const due = await this.store.due({ checker, limit: free });
    if (this.stopping.signal.aborted) return;
    slots.isShort = due.length >= free;
    for (const one of due) this.start(one, check, slots);
  }

  private slotsOf(checker: string): Slots {
    const slots = this.slots.get(checker) ?? { taken: 0, isShort: false };
    this.slots.set(checker, slots);
    return slots;
  }

  private start(due: DueCheck, check: Check, slots: Slots): void {
    slots.taken += 1;
    const asking = this.ask(due, check).finally(() => {
      slots.taken -= 1;
      this.asking.delete(asking);
      if (slots.isShort) this.onFree();
    });
    this.asking.add(asking);
  }

  private async ask(due: DueCheck, check: Check): Promise<void> {
    try {
      const answer = await this.answerTo(due, check);
      if (answer !== undefined) await this.outcomes.settle(due, answer);
    } catch (cause) {
      this.outcomes.reportFailed(due, cause);
    }
  }

  /** Undefined when it was stopped before. */
  private async answerTo(due: DueCheck, check: Check): Promise<CheckAnswer | undefined> {
    const { message, checker, isYoung } = due;
    try {
      const asked = check(message.id, JSON.parse(message.payload) as never);
      const answer = await heard(asked, this.stopping.signal);
      if (answer !== undefined && !ANSWERS.includes(answer.said)) {
        throw new TypeError(`${checker} answered none of ${ANSWERS.join(', ')}`);
      }
      // It has not seen the end of work that may still be running.
      return answer?.said === 'rollback' && isYoung ? 'unknown' : answer?.said;
    } catch (cause) {
      this.outcomes.reportFailed(due, cause);
      return 'unknown';
    }
  }
}

/** Undefined when `signal` aborts first. @throws Error when it takes too long, and what `work` throws */
async function heard<T>(work: Promise<T>, signal: AbortSignal): Promise<{ readonly said: T } | undefined> {
  let timer: NodeJS.Timeout | undefined;
  let leave = (): void => undefined;
  const over = new Promise<undefined>((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${LONGEST_CHECK_MS} ms`)), LONGEST_CHECK_MS);
    leave = () => resolve(undefined);
    signal.addEventListener('abort', leave);
  });
  try {
    return await Promise.race([work.then((said) => ({ said })), over]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', leave);
  }
}
