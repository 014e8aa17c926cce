import 'reflect-metadata';
import { bullmqTransport } from '@lockstep/bullmq';
import { eventually, redisCommandCounter, startRedis } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { getDefaultBackendFactory } from 'bullmq';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { make } from './support/bullmq-ends.js';
import { Consumer, newMessage, newMessages, newRoute } from './support/messages.js';

describe('messages on Redis', () => {
  const redis = useRedis();
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  const open = async (url: string = redis.url) => {
    const made = await make(bullmqTransport({ redis: { url }, namespace: redis.prefix }));
    ends.push(() => made.port.close());
    return made;
  };
  const client = () => {
    const ours = new Redis(redis.url);
    ends.push(async () => ours.disconnect());
    return ours;
  };

  it('five hundred messages are published in one command a hundred', async () => {
    const server = await startRedis();
    ends.push(() => server.stop());
    const { port } = await open(server.url);
    const route = newRoute();
    await eventually(() => port.publish(route, newMessages(route, 500)));
    const counter = await redisCommandCounter(server.url);
    ends.push(async () => counter.stop());
    await counter.reset();
    await port.publish(route, newMessages(route, 500));
    expect(await counter.counts()).toEqual({ EVALSHA: 5 });
  });

  it('nothing of a message is left behind once it is done', async () => {
    const { port } = await open();
    const route = newRoute();
    const consumer = new Consumer(({ message, attempt }) =>
      message.key === 'twice' && attempt < 2
        ? { outcome: 'retry', delayMs: 5, error: new Error('not yet') }
        : { outcome: 'done' },
    );
    await port.publish(route, [...newMessages(route, 20), newMessage(route, { key: 'twice' })]);
    await port.consume(route, consumer.handler, { concurrency: 2, batchSize: 30 });
    await eventually(() => expect(consumer.deliveries).toHaveLength(22));
    const ours = client();
    await eventually(async () => {
      const keys = await ours.keys(`${redis.prefix}:{route/${route.topic}*`);
      const kinds = keys.map((key) => key.split(':').at(-1));
      // What a queue is made of; a job would stand here by its id.
      const structures = ['active', 'delayed', 'events', 'id', 'marker', 'meta', 'stalled', 'stalled-check', 'wait'];
      expect(structures).toEqual(expect.arrayContaining(kinds));
    });
  });

  it('an eviction policy that may drop jobs is reported', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const server = await startRedis({ args: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] });
    ends.push(() => server.stop());
    const { incidents } = await open(server.url);
    await eventually(() => expect(incidents.map(({ code }) => code)).toContain('REDIS_EVICTS'));
    vi.restoreAllMocks();
  });

  it('a server that refuses every command is not asked again and again', async () => {
    const server = await startRedis();
    ends.push(() => server.stop());
    const full = new Redis(server.url);
    ends.push(async () => full.disconnect());
    await full.config('SET', 'maxmemory', '1');
    const { port, incidents } = await open(server.url);
    const startedAt = performance.now();
    await port.consume(newRoute(), new Consumer().handler, { concurrency: 1, batchSize: 1 });
    const refused = () => incidents.filter(({ cause }) => String(cause).includes('OOM')).length;
    await eventually(() => expect(refused()).toBeGreaterThanOrEqual(4));
    expect(performance.now() - startedAt).toBeGreaterThan(1_000);
  });

  it("an application's own client lends its settings and is neither used nor closed", async () => {
    const ours = client();
    const made = await make(bullmqTransport({ redis: { connection: ours }, namespace: redis.prefix }));
    const route = newRoute();
    const consumer = new Consumer();
    await made.port.publish(route, newMessages(route, 1));
    await made.port.consume(route, consumer.handler, { concurrency: 1, batchSize: 1 });
    await eventually(() => expect(consumer.deliveries).toHaveLength(1));
    await made.port.close();
    expect(await ours.ping()).toBe('PONG');
  });

  it("BullMQ's process-wide default backend stays as it was", async () => {
    const before = getDefaultBackendFactory();
    await open();
    expect(getDefaultBackendFactory()).toBe(before);
  });

  it('a job that this version cannot read is reported, and stays', async () => {
    const { port, incidents } = await open();
    const route = newRoute();
    await port.publish(route, newMessages(route, 1));
    const ours = client();
    const [key] = (await ours.keys(`${redis.prefix}:{route/${route.topic}*`)).filter((one) => one.includes(':batch-'));
    await ours.hset(key ?? '', 'data', JSON.stringify({ v: 2 }));
    await port.consume(route, new Consumer().handler, { concurrency: 1, batchSize: 1 });
    await eventually(() => expect(incidents.map(({ code }) => code)).toContain('JOB_FAILED'));
    expect(await ours.exists(key ?? '')).toBe(1);
  });
});
