import type { Incidents } from '@lockstep/core';
import type { MessageEnvelope } from '../../message.js';
import type { BatchHandler, ConsumeOptions, DeliveryOutcome, TransportSubscription } from '../../message-transport.js';

interface Entry {
  readonly message: MessageEnvelope;
  /** Deliveries that count, so far. */
  attempts: number;
  timer?: NodeJS.Timeout;
}

interface Subscriber {
  readonly handler: BatchHandler;
  readonly options: ConsumeOptions;
  readonly running: Set<Promise<void>>;
  closed: boolean;
}

const BROKEN_HANDLER_PAUSE_MS = 1_000;

/**
 * The queue of one route.
 *
 * ```
 * accepted --> waiting --a subscriber has room--> running --done | dead--> (gone)
 *                 ^                                   --retry | postpone | handler rejected--> paused
 *                 '------------------- the delay is over ---------------------------------------'
 * ```
 */
export class MemoryRoute {
  /** Waiting and paused ones by id; running ones are not here, so that they may be published anew. */
  private readonly entries = new Map<string, Entry>();
  private readonly waiting = new Set<Entry>();
  private readonly subscribers = new Set<Subscriber>();
  private pumping = false;

  constructor(
    private readonly name: string,
    private readonly incidents: Incidents,
  ) {}

  accept(message: MessageEnvelope): void {
    if (this.entries.has(message.id)) return;
    this.enqueue({ message, attempts: 0 });
  }

  subscribe(handler: BatchHandler, options: ConsumeOptions): TransportSubscription {
    const subscriber: Subscriber = { handler, options, running: new Set(), closed: false };
    this.subscribers.add(subscriber);
    this.pumpSoon();
    return {
      close: async (signal) => {
        subscriber.closed = true;
        this.subscribers.delete(subscriber);
        await Promise.race([Promise.all(subscriber.running), aborted(signal)]);
      },
    };
  }

  forget(): void {
    for (const { timer } of this.entries.values()) clearTimeout(timer);
    this.entries.clear();
    this.waiting.clear();
  }

  private enqueue(entry: Entry): void {
    this.entries.set(entry.message.id, entry);
    this.waiting.add(entry);
    this.pumpSoon();
  }

  /** After the current tick, so that what is published together is delivered together. */
  private pumpSoon(): void {
    if (this.pumping) return;
    this.pumping = true;
    setImmediate(() => {
      this.pumping = false;
      for (const subscriber of this.subscribers) this.pump(subscriber);
    });
  }

  private pump(subscriber: Subscriber): void {
    const { concurrency, batchSize } = subscriber.options;
    while (!subscriber.closed && this.waiting.size > 0 && subscriber.running.size < concurrency) {
      const batch = [...this.waiting].slice(0, batchSize);
      for (const entry of batch) {
        this.waiting.delete(entry);
        this.entries.delete(entry.message.id);
        entry.attempts += 1;
      }
      const run = this.deliver(subscriber, batch).finally(() => {
        subscriber.running.delete(run);
        this.pumpSoon();
      });
      subscriber.running.add(run);
    }
  }

  private async deliver({ handler }: Subscriber, batch: readonly Entry[]): Promise<void> {
    const outcomes = await this.answers(handler, batch);
    for (const [index, entry] of batch.entries()) this.conclude(entry, outcomes[index]);
  }

  private async answers(handler: BatchHandler, batch: readonly Entry[]): Promise<readonly DeliveryOutcome[]> {
    try {
      const outcomes = await handler(batch.map(({ message, attempts }) => ({ message, attempt: attempts })));
      if (outcomes.length === batch.length) return outcomes;
      throw new Error(`${outcomes.length} answers for ${batch.length} deliveries`);
    } catch (error) {
      this.incidents.report({
        code: 'MESSAGE_HANDLER_BROKEN',
        source: 'outbox.memory-transport',
        message: `the batch handler of ${this.name} gave no answer`,
        cause: error,
      });
      return batch.map(() => ({ outcome: 'retry', delayMs: BROKEN_HANDLER_PAUSE_MS, error }));
    }
  }

  private conclude(entry: Entry, outcome: DeliveryOutcome | undefined): void {
    if (!outcome || outcome.outcome === 'done' || outcome.outcome === 'dead') return;
    if (this.entries.has(entry.message.id)) return; // published anew meanwhile
    if (outcome.outcome === 'postpone') entry.attempts -= 1;
    this.entries.set(entry.message.id, entry);
    entry.timer = setTimeout(() => this.enqueue(entry), outcome.delayMs).unref();
  }
}

function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) resolve();
    signal?.addEventListener('abort', () => resolve(), { once: true });
  });
}
