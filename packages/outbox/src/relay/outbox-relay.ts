import { DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OutboxLifecycle } from '../outbox-lifecycle.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { DelayedMessages } from './delayed-messages.js';
import { DeliveryPublisher } from './delivery-publisher.js';
import { deadLetterPurge, sequencePurge } from './purge-task.js';
import { RedeliveryPass } from './redelivery-pass.js';
import { RelayPass } from './relay-pass.js';
import { RelayWakeUp } from './relay-wake-up.js';
import { ShardOwnership } from './shard-ownership.js';
import { SlowStart } from './slow-start.js';

const LAST_SHARD = 32_767;

/**
 * Takes committed messages to the transport: a loop for each shard, one for what is overdue, one for what has a delay, and
 * those that purge. Any number of processes may run it; a shard is worked on by one of them at a time.
 */
@Injectable()
export class OutboxRelay implements OnApplicationBootstrap {
  private readonly shards: { readonly task: PeriodicTask; readonly ownership: ShardOwnership }[] = [];
  private readonly others: PeriodicTask[] = [];
  private delayed: DelayedMessages | undefined;
  private sequences: PeriodicTask | undefined;

  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(DeliveryPublisher) private readonly publisher: DeliveryPublisher,
    @Inject(RelayWakeUp) private readonly wakeUp: RelayWakeUp,
    @Inject(OutboxLifecycle) private readonly lifecycle: OutboxLifecycle,
    @Inject(DrainService) private readonly drains: DrainService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onApplicationBootstrap(): void {
    if (!this.options.runRelay) return;
    for (let shard = 0; shard < this.options.shards; shard += 1) this.shards.push(this.shardLoop(shard));
    this.delayed = this.delayLoop();
    const isFirst = () => this.shards[0]?.ownership.isOwner ?? false;
    this.sequences = sequencePurge(this.options, this.store, this.incidents, isFirst);
    const letters = deadLetterPurge(this.options, this.store, this.incidents);
    this.others.push(this.redeliveryLoop(), letters, this.sequences);
    const unsubscribe = this.wakeUp.subscribe({
      wake: (shard) => this.wake(shard),
      expect: (inMs) => this.delayed?.expect(inMs),
      wakeAll: () => this.wakeAll(),
    });
    this.drains.register({
      name: 'outbox relay',
      phase: 'intake',
      drain: async () => {
        unsubscribe();
        await this.stop();
      },
    });
    this.lifecycle.consume('outbox wake-up', async () => ({ close: await this.wakeUp.listen() }));
    for (const task of this.tasks()) task.start();
  }

  /** The last loop also has the shards above. */
  private wake(shard: number): boolean {
    const loop = this.shards[Math.min(shard, this.shards.length - 1)];
    loop?.task.wake();
    return loop?.ownership.isOwner ?? false;
  }

  private wakeAll(): void {
    for (const { task } of this.shards) task.wake();
    this.delayed?.task.wake();
  }

  private async stop(): Promise<void> {
    await Promise.all([...this.tasks().map((task) => task.stop()), this.delayed?.stop()]);
    await Promise.all(this.shards.map(({ ownership }) => ownership.release()));
  }

  private tasks(): PeriodicTask[] {
    const delayed = this.delayed ? [this.delayed.task] : [];
    return [...this.shards.map(({ task }) => task), ...delayed, ...this.others];
  }

  private shardLoop(shard: number): { task: PeriodicTask; ownership: ShardOwnership } {
    const { shards, leaseTtlMs, redeliverAfterMs, batchSize } = this.options;
    const ownership = new ShardOwnership(`outbox:${shard}`, leaseTtlMs, this.store, this.incidents);
    // The last one also takes what was written when there were more shards.
    const range = { fromShard: shard, toShard: shard === shards - 1 ? LAST_SHARD : shard, redeliverAfterMs };
    const pace = new SlowStart(batchSize);
    const pass = new RelayPass(range, this.store, this.publisher, pace, this.incidents);
    const run = async (): Promise<boolean> => {
      const wasOwner = ownership.isOwner;
      const lease = await ownership.hold();
      if (shard === 0 && lease && !wasOwner) this.sequences?.wake();
      return lease ? pass.run(lease) : false;
    };
    return { ownership, task: this.loop(`outbox relay ${shard}`, pace, run) };
  }

  private redeliveryLoop(): PeriodicTask {
    const pace = new SlowStart(this.options.batchSize);
    const pass = new RedeliveryPass(this.options, this.store, this.publisher, pace, this.incidents);
    return this.loop('outbox redelivery', pace, () => pass.run());
  }

  private loop(name: string, pace: SlowStart, pass: () => Promise<boolean>): PeriodicTask {
    return new PeriodicTask({
      name,
      everyMs: this.options.sweepEveryMs,
      run: async () => {
        if (pace.isPausing()) return undefined;
        const more = await pass();
        pace.succeeded();
        return more ? 'again' : undefined;
      },
      onError: (cause) => {
        pace.failed();
        this.report(name, cause);
      },
    });
  }

  private delayLoop(): DelayedMessages {
    const { shards, batchSize, sweepEveryMs } = this.options;
    return new DelayedMessages({
      store: this.store,
      batchSize,
      sweepEveryMs,
      // The store does not say which shards they are in.
      onPromoted: () => this.wakeUp.wake(Array.from({ length: shards }, (_, shard) => shard)),
      onError: (cause) => this.report('outbox delay', cause),
    });
  }

  private report(name: string, cause: unknown): void {
    this.incidents.report({
      code: 'OUTBOX_PASS_FAILED',
      source: 'outbox.relay',
      message: `${name}: a pass failed`,
      cause,
    });
  }
}
