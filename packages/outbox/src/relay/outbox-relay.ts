import { DrainService, Incidents, PeriodicTask } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { DeliveryPublisher } from './delivery-publisher.js';
import { RedeliveryPass } from './redelivery-pass.js';
import { RelayPass } from './relay-pass.js';
import { RelayWakeUp } from './relay-wake-up.js';
import { ShardOwnership } from './shard-ownership.js';
import { SlowStart } from './slow-start.js';

const LAST_SHARD = 32_767;
const PURGE_EVERY_MS = 600_000;

/**
 * Takes committed messages to the transport: a loop for each shard, one for what is overdue, one that purges dead
 * letters. Any number of processes may run it; a shard is worked on by one of them at a time.
 */
@Injectable()
export class OutboxRelay implements OnApplicationBootstrap {
  private readonly shards: { readonly task: PeriodicTask; readonly ownership: ShardOwnership }[] = [];
  private readonly others: PeriodicTask[] = [];

  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(DeliveryPublisher) private readonly publisher: DeliveryPublisher,
    @Inject(RelayWakeUp) private readonly wakeUp: RelayWakeUp,
    @Inject(DrainService) private readonly drains: DrainService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onApplicationBootstrap(): void {
    if (!this.options.runRelay) return;
    for (let shard = 0; shard < this.options.shards; shard += 1) this.shards.push(this.shardLoop(shard));
    this.others.push(this.redeliveryLoop(), this.purgeLoop());
    const unsubscribe = this.wakeUp.subscribe((shard) => this.shards[shard]?.task.wake());
    this.drains.register({
      name: 'outbox relay',
      phase: 'intake',
      drain: async () => {
        unsubscribe();
        await this.stop();
      },
    });
    for (const task of this.tasks()) task.start();
  }

  private async stop(): Promise<void> {
    await Promise.all(this.tasks().map((task) => task.stop()));
    await Promise.all(this.shards.map(({ ownership }) => ownership.release()));
  }

  private tasks(): PeriodicTask[] {
    return [...this.shards.map(({ task }) => task), ...this.others];
  }

  private shardLoop(shard: number): { task: PeriodicTask; ownership: ShardOwnership } {
    const { shards, leaseTtlMs, redeliverAfterMs, batchSize } = this.options;
    const ownership = new ShardOwnership(`outbox:${shard}`, leaseTtlMs, this.store, this.incidents);
    // The last one also takes what was written when there were more shards.
    const range = { fromShard: shard, toShard: shard === shards - 1 ? LAST_SHARD : shard, redeliverAfterMs };
    const pace = new SlowStart(batchSize);
    const pass = new RelayPass(range, this.store, this.publisher, pace, this.incidents);
    const run = async (): Promise<boolean> => {
      const lease = await ownership.hold();
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

  private purgeLoop(): PeriodicTask {
    return new PeriodicTask({
      name: 'outbox purge',
      everyMs: PURGE_EVERY_MS,
      run: async () => {
        const purged = await this.store.operations.purge(this.options.deadLetterRetentionMs);
        if (purged === 0) return undefined;
        this.incidents.report({
          code: 'OUTBOX_DEAD_LETTERS_PURGED',
          source: 'outbox.purge',
          message: 'dead letters that nobody replayed within deadLetterRetention are gone',
          fields: { messages: purged },
        });
        return 'again';
      },
      onError: (cause) => this.report('outbox purge', cause),
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
