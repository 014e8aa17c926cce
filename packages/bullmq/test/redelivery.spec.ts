import { randomBytes, randomUUID } from 'node:crypto';
import { bullmqTransport } from '@lockstep/bullmq';
import { DrainService, Incidents } from '@lockstep/core';
import { DeliveryPublisher, MemoryOutboxStore, RedeliveryPass, RelayPass, SlowStart } from '@lockstep/outbox';
import type { SqlTransaction } from '@lockstep/sql';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Queue } from 'bullmq';
import { afterEach, describe, expect, it } from 'vitest';
import { Consumer, newRoute } from './support/messages.js';

const MESSAGES = 300;
const REDELIVERIES = 6;
const SHARDS = 4;
/** The first delivery, three in batches, and all that follow as one copy that travels alone. */
const MOST_COPIES = 5;

describe('re-delivery on BullMQ', () => {
  const redis = useRedis();
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  it('keeps at most five copies of a message however often it is delivered while its consumer is away, and loses none', async () => {
    const namespace = `t${randomBytes(6).toString('hex')}`;
    const incidents = new Incidents();
    const options = { redis: { url: redis.url }, namespace };
    const transport = await bullmqTransport(options).useFactory(incidents, new DrainService(incidents));
    ends.push(() => transport.close());
    const route = newRoute();
    const store = new MemoryOutboxStore();
    await store.subscribe([route]);
    const publisher = new DeliveryPublisher(store, transport, incidents);
    const given = new Map<string, number>();
    const ids = Array.from({ length: MESSAGES }, () => randomUUID());
    for (const [n, id] of ids.entries()) {
      const message = { id, topic: route.topic, key: undefined, payload: `{"n":${n}}`, headers: {} };
      const record = { message, shard: n % SHARDS, awaitsAck: true, delayMs: 0, strict: false };
      await committed((tx) => store.append(tx, [record]));
    }
    const lease = { isHeld: () => true, renew: async () => true, release: async () => undefined };
    for (let shard = 0; shard < SHARDS; shard += 1) {
      const range = { fromShard: shard, toShard: shard, redeliverAfterMs: 1 };
      const pass = new RelayPass(range, store, publisher, new SlowStart(500), incidents);
      await eventually(() => pass.run(lease));
    }
    const pace = new SlowStart(70); // so that batches are never the same twice
    const counting = {
      overdue: async (...args: Parameters<typeof store.overdue>) => {
        const overdue = await store.overdue(...args);
        for (const { message, deliveries } of overdue) given.set(message.id, deliveries);
        return overdue;
      },
    };
    const seen = Object.assign(Object.create(store) as MemoryOutboxStore, counting);
    const pauses = { redeliverAfterMs: 1, redeliverAtMostMs: 1 };
    const redelivery = new RedeliveryPass(pauses, seen, publisher, pace, incidents);
    await eventually(
      async () => {
        await redelivery.run();
        expect([...given.values()].filter((deliveries) => deliveries > REDELIVERIES)).toHaveLength(MESSAGES);
      },
      { timeoutMs: 30_000, intervalMs: 1 },
    );

    const queue = new Queue(`{route/${route.topic}/${route.consumer}}`, {
      connection: { url: redis.url },
      prefix: namespace,
    });
    ends.push(() => queue.close());
    const waiting = await queue.getWaiting(0, -1);
    const copies = waiting.flatMap(({ data }) => (data as { m: [string][] }).m.map(([id]) => id));
    const most = Math.max(...ids.map((id) => copies.filter((copy) => copy === id).length));
    expect(most).toBeLessThanOrEqual(MOST_COPIES);
    expect(new Set(copies).size).toBe(MESSAGES);

    const consumer = new Consumer();
    await transport.consume(route, consumer.handler, { concurrency: 4, batchSize: 50 });
    await eventually(() => expect(new Set(consumer.ids())).toEqual(new Set(ids)), { timeoutMs: 15_000 });
  });
});

/** A transaction of no database. */
async function committed(fn: (tx: SqlTransaction) => Promise<void>): Promise<void> {
  const hooks: (() => void)[] = [];
  await fn({
    dialect: 'postgres',
    query: async () => [],
    execute: async () => 0,
    afterCommit: (hook) => void hooks.push(hook),
  });
  for (const hook of hooks) hook();
}
