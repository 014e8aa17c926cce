import { checkpoint, type Incidents, type Permits, rested, untilAborted } from '@lockstep/core';
import type { BatchHandler, ConsumeOptions, DeliveryOutcome } from '@lockstep/outbox';
import type { Answers, Verdict } from './answers.js';
import { ComingKeys } from './coming-keys.js';
import type { Parcel } from './parcel.js';
import { WaitingRoom } from './waiting-room.js';

const RETRY_AFTER_BROKEN_HANDLER_MS = 1_000;
/** The messages of a process that died come one after the other: the first of a key must be here before the second. */
const GATHER_MS = 200;

export interface DispatcherInit {
  readonly handler: BatchHandler;
  readonly options: ConsumeOptions;
  readonly answers: Answers;
  /** One permit for all routes of the process: of two suspects at a time an innocent one would pay for the other. */
  readonly quarantine: Permits;
  /** Aborts when nothing more is to be handed over. */
  readonly closing: AbortSignal;
  /** Aborts when running handlers are no longer waited for. */
  readonly giveUp: AbortSignal;
  readonly incidents: Incidents;
  /** The server has heard about the parcel, or will not hear any more. */
  release(parcel: Parcel): void;
}

/**
 * Hands parcels to the handler in batches, as many at a time as its options say. What becomes of a parcel:
 *
 * ```
 * waiting --its turn--> handed over --answered--> told to the server --> released
 * waiting, suspect --alone, in quarantine, the try written down--> handed over
 * waiting behind one of its key that comes back | closing --> returned, uncounted --> released
 * ```
 *
 * No two batches have a key in common, and within a batch its messages are in order.
 */
export class Dispatcher {
  private readonly waiting = new WaitingRoom();
  private readonly coming = new ComingKeys();
  private readonly busyKeys = new Set<string>();
  private readonly work = new Set<Promise<void>>();
  private readonly waitingForSlot: (() => void)[] = [];
  private running = 0;
  private isTrying = false;
  private isPlanned = false;

  constructor(private readonly init: DispatcherInit) {}

  add(parcel: Parcel): void {
    this.coming.arrived(parcel);
    this.waiting.add(parcel);
    if (!parcel.isReady) this.track(this.prepare(parcel));
    this.plan();
  }

  /** Gives back what waits, and resolves when nothing is under way any more. */
  async drain(): Promise<void> {
    this.returnWaiting();
    while (this.work.size > 0) await Promise.all(this.work);
  }

  /** Later, once for all parcels that arrive together: they may go in one batch. */
  private plan(): void {
    if (this.isPlanned) return;
    this.isPlanned = true;
    setImmediate(() => {
      this.isPlanned = false;
      this.dispatch();
    });
  }

  private dispatch(): void {
    if (this.init.closing.aborted) this.returnWaiting();
    this.keepOrder();
    if (!this.isTrying) {
      const suspect = this.waiting.takeSuspect(this.busyKeys);
      if (suspect) this.track(this.isolate(suspect));
    }
    const { concurrency, batchSize } = this.init.options;
    while (this.running < concurrency) {
      const batch = this.waiting.takeBatch(batchSize, this.busyKeys);
      if (batch.length === 0) return;
      this.running += 1;
      this.track(this.hand(batch));
    }
  }

  /** Messages behind one of their key that comes back make room for others. */
  private keepOrder(): void {
    const behind = (one: Parcel): boolean => one.isReady && this.coming.waitOf(one) !== undefined;
    for (const parcel of this.waiting.takeWhere(behind)) this.giveBack(parcel, this.coming.waitOf(parcel) ?? 0);
  }

  private returnWaiting(): void {
    for (const parcel of this.waiting.takeWhere(() => true)) this.giveBack(parcel, 0);
  }

  private giveBack(parcel: Parcel, delayMs: number): void {
    this.track(this.settle(parcel, { outcome: 'returned', delayMs }));
  }

  private async prepare(parcel: Parcel): Promise<void> {
    const isKnown = await this.init.answers.recall(parcel);
    if (parcel.isSuspect) await rested(GATHER_MS, this.init.closing);
    parcel.isReady = isKnown;
    if (!isKnown) {
      // Nothing is known, so nothing may be done with it: the server delivers it again.
      this.waiting.takeWhere((one) => one === parcel);
      this.init.release(parcel);
    }
    this.plan();
  }

  private async isolate(parcel: Parcel): Promise<void> {
    const { answers, closing, quarantine } = this.init;
    this.isTrying = true;
    if (parcel.key !== undefined) this.busyKeys.add(parcel.key);
    if (await quarantine.acquire(closing)) {
      try {
        await this.slot();
        if (await answers.trying(parcel)) await this.hand([parcel]);
        else this.drop(parcel);
      } finally {
        quarantine.release();
      }
    } else {
      if (parcel.key !== undefined) this.busyKeys.delete(parcel.key);
      this.giveBack(parcel, 0);
    }
    this.isTrying = false;
    this.plan();
  }

  /** One of the batches that may run at a time; a suspect must not be one more. */
  private async slot(): Promise<void> {
    if (this.running < this.init.options.concurrency) this.running += 1;
    else await new Promise<void>((resolve) => this.waitingForSlot.push(resolve));
  }

  /** The server could not be told of the try: it delivers the message again. */
  private drop(parcel: Parcel): void {
    this.leave([parcel]);
    this.init.release(parcel);
  }

  private leave(batch: readonly Parcel[]): void {
    for (const { key } of batch) if (key !== undefined) this.busyKeys.delete(key);
    const next = this.waitingForSlot.shift();
    if (next) next();
    else this.running -= 1;
  }

  /** The caller has taken a slot. */
  private async hand(batch: readonly Parcel[]): Promise<void> {
    for (const { key } of batch) if (key !== undefined) this.busyKeys.add(key);
    const verdicts = await this.answersOf(batch);
    checkpoint('nats.batch.handled', { size: batch.length });
    this.leave(batch);
    const settling = batch.map((parcel, index) => this.settle(parcel, verdicts[index] ?? returned(0)));
    this.plan();
    await Promise.all(settling);
  }

  private async settle(parcel: Parcel, verdict: Verdict): Promise<void> {
    if (verdict.outcome !== 'done' && verdict.outcome !== 'dead') {
      this.coming.expect(parcel, verdict.delayMs);
    }
    await this.init.answers.give(parcel, verdict);
    this.init.release(parcel);
    this.track(this.init.answers.tidy(parcel));
  }

  private async answersOf(parcels: readonly Parcel[]): Promise<readonly DeliveryOutcome[]> {
    const { handler, giveUp, incidents } = this.init;
    const batch = parcels.map(({ message, attempts }) => ({ message, attempt: attempts + 1 }));
    const retryAll = (delayMs: number, error: unknown): DeliveryOutcome[] =>
      batch.map(() => ({ outcome: 'retry', delayMs, error }));
    try {
      // A handler that hangs is answered for: its messages go to somebody who lives, and count as handed over.
      const abandon = (): DeliveryOutcome[] => retryAll(0, new Error('the subscription was closed'));
      const answers = await untilAborted(handler(batch), giveUp, abandon);
      if (answers.length === batch.length) return answers;
      throw new Error(`the handler gave ${answers.length} answers for ${batch.length} deliveries`);
    } catch (cause) {
      const message = 'the handler of a batch did not answer for it; the batch comes back';
      incidents.report({ code: 'BATCH_HANDLER_BROKEN', source: 'nats.transport', message, cause });
      return retryAll(RETRY_AFTER_BROKEN_HANDLER_MS, cause);
    }
  }

  private track(work: Promise<void>): void {
    const tracked = work
      .catch((cause: unknown) => {
        const message = 'a message could not be dealt with; the server delivers it again';
        this.init.incidents.report({ code: 'DELIVERY_FAILED', source: 'nats.transport', message, cause });
      })
      .finally(() => this.work.delete(tracked));
    this.work.add(tracked);
  }
}

function returned(delayMs: number): Verdict {
  return { outcome: 'returned', delayMs };
}
