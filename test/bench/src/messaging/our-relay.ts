import { Incidents } from '@lockstep/core';
import {
  DeliveryPublisher,
  type Durability,
  OUTBOX_STORE,
  OutboxService,
  type OutboxStore,
  RelayPass,
  SlowStart,
} from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import type { INestApplicationContext } from '@nestjs/common';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import type { Contestant, Slice } from '../harness/contestant.js';
import { CONSUMER, ourApplication, type Servers } from './our-application.js';
import { CLAIM, MESSAGES, orderPlaced, TOPIC, withWalBytes } from './workload.js';

const LEASE_MS = 60_000;

/** The relay of the outbox on one shard, many messages to a job. Its loop is driven from here. */
export function ourRelay(servers: Servers, durability: Durability): Contestant {
  return {
    name: 'ours',
    open: async () => {
      const app = await ourApplication(servers, {
        durability,
        topics: { [TOPIC]: { consumers: [CONSUMER] } },
        shards: 1,
        run: { relay: false, consumers: false },
      });
      const database = new Client(servers.databaseUrl);
      await database.connect();
      const redis = new Redis(servers.redisUrl);
      const relay = await OneShard.open(app);
      const run = async (): Promise<Slice> => {
        await redis.flushdb(); // the jobs of the last slice; the database belongs to this row alone
        await database.query('TRUNCATE lockstep_outbox_inflight'); // what nobody acknowledged
        await fill(app);
        const { elapsedMs, walBytes } = await withWalBytes(database, () => relay.drain());
        return { operations: MESSAGES, elapsedMs, sums: { walBytes } };
      };
      const close = async (): Promise<void> => {
        await app.close();
        await redis.quit();
        await database.end();
      };
      return { run, close };
    },
  };
}

async function fill(app: INestApplicationContext): Promise<void> {
  const outbox = app.get(OutboxService);
  const messages = Array.from({ length: MESSAGES }, (_, id) => ({ topic: TOPIC, body: orderPlaced(id) }));
  await app.get(Sql).transaction(() => outbox.publishMany(messages));
}

class OneShard {
  private constructor(
    private readonly store: OutboxStore,
    private readonly pass: RelayPass,
  ) {}

  static async open(app: INestApplicationContext): Promise<OneShard> {
    const store = app.get<OutboxStore>(OUTBOX_STORE, { strict: false });
    const publisher = app.get(DeliveryPublisher, { strict: false });
    const incidents = app.get(Incidents, { strict: false });
    await store.subscribe([{ topic: TOPIC, consumer: CONSUMER }]);
    const range = { fromShard: 0, toShard: 0, redeliverAfterMs: 30_000 };
    return new OneShard(store, new RelayPass(range, store, publisher, new SlowStart(CLAIM), incidents));
  }

  async drain(): Promise<void> {
    const lease = await this.store.lease('outbox:0', LEASE_MS);
    if (lease === undefined) throw new Error('another relay has the shard');
    while (await this.pass.run(lease));
    await lease.release();
  }
}
