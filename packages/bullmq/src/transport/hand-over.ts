import { type Incidents, type Permits, untilAborted } from '@lockstep/core';
import type { BatchHandler, Delivery, DeliveryOutcome } from '@lockstep/outbox';
import type { KeyLanes, LanePlace } from './key-lanes.js';

/** `waits`: it was not handed over, because the subscription closes or an earlier message of its key comes back. */
export type Verdict = DeliveryOutcome | { readonly outcome: 'waits' };

const WAITS: Verdict = { outcome: 'waits' };
const RETRY_AFTER_BROKEN_HANDLER_MS = 1_000;

/** What all jobs of a subscription share. */
export interface Hands {
  readonly handler: BatchHandler;
  readonly batchSize: number;
  /** Across jobs: one of a hundred messages must not be handed over by one hand while the others are free. */
  readonly permits: Permits;
  /** Aborts when nothing more is to be handed over. */
  readonly closing: AbortSignal;
  readonly lanes: KeyLanes;
  /** Aborts when running handlers are no longer waited for. */
  readonly giveUp: AbortSignal;
  readonly incidents: Incidents;
}

/**
 * Hands the deliveries of one job to the handler in batches, as many at a time as there are permits, and none before
 * an earlier one of its key, in this job or one taken before it, was answered. One use.
 */
export class HandOverRun {
  private readonly verdicts: Verdict[];
  /** Keys of which a message comes back: the later ones must not overtake it. */
  private readonly coming = new Set<string>();
  private readonly latestOfKey = new Map<string, Promise<void>>();

  constructor(
    private readonly deliveries: readonly Delivery[],
    private readonly hands: Hands,
    /** Runs right before each hand-over; a rejection ends the run. */
    private readonly beforeHandOver: () => Promise<void> = async () => undefined,
  ) {
    this.verdicts = deliveries.map(() => WAITS);
  }

  async run(): Promise<readonly Verdict[]> {
    const { lanes, batchSize } = this.hands;
    const place = lanes.enter(keysOf(this.deliveries));
    const runs: Promise<void>[] = [];
    try {
      for (let from = 0; from < this.deliveries.length; from += batchSize) {
        const slice = this.deliveries.slice(from, from + batchSize);
        const keys = keysOf(slice);
        await this.turn(keys, place);
        if (!(await this.hands.permits.acquire(this.hands.closing))) break;
        const run = this.handSlice(from, slice).finally(() => this.hands.permits.release());
        for (const key of keys) this.latestOfKey.set(key, run);
        runs.push(run);
      }
      await Promise.all(runs);
    } finally {
      place.leave();
    }
    return this.verdicts;
  }

  private async turn(keys: ReadonlySet<string>, place: LanePlace): Promise<void> {
    const ahead = [...keys].flatMap((key) => [place.turnOf(key), this.latestOfKey.get(key)]);
    await Promise.all(ahead.filter((turn) => turn !== undefined));
  }

  private async handSlice(from: number, slice: readonly Delivery[]): Promise<void> {
    const picked = slice
      .map((delivery, offset) => ({ delivery, index: from + offset }))
      .filter(({ delivery: { message } }) => message.key === undefined || !this.coming.has(message.key));
    if (picked.length === 0) return;
    await this.beforeHandOver();
    const answers = await this.answersOf(picked.map(({ delivery }) => delivery));
    picked.forEach(({ delivery, index }, position) => {
      const answer = answers[position] ?? WAITS;
      this.verdicts[index] = answer;
      const { key } = delivery.message;
      if (key !== undefined && answer.outcome !== 'done' && answer.outcome !== 'dead') this.coming.add(key);
    });
  }

  private async answersOf(batch: readonly Delivery[]): Promise<readonly DeliveryOutcome[]> {
    const { handler, giveUp, incidents } = this.hands;
    // A handler that hangs is answered for: its messages go to somebody who lives, and count as handed over.
    const abandon = (): readonly DeliveryOutcome[] => retryAll(batch, 0, new Error('the subscription was closed'));
    try {
      const answers = await untilAborted(handler(batch), giveUp, abandon);
      if (answers.length === batch.length) return answers;
      throw new Error(`the handler gave ${answers.length} answers for ${batch.length} deliveries`);
    } catch (cause) {
      incidents.report({
        code: 'BATCH_HANDLER_BROKEN',
        source: 'bullmq.transport',
        message: 'the handler of a batch did not answer for it; the batch comes back',
        cause,
      });
      return retryAll(batch, RETRY_AFTER_BROKEN_HANDLER_MS, cause);
    }
  }
}

function retryAll(batch: readonly Delivery[], delayMs: number, error: unknown): DeliveryOutcome[] {
  return batch.map(() => ({ outcome: 'retry', delayMs, error }));
}

function keysOf(deliveries: readonly Delivery[]): ReadonlySet<string> {
  return new Set(deliveries.flatMap(({ message }) => message.key ?? []));
}
