import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { explore } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QueueModel } from './support/queue-model.js';
import { type RawQueue, rawQueue } from './support/raw-scripts.js';
import { type OpenedRedis, openRedis } from './support/redis-store.js';

describe('interleavings of those who wait', () => {
  const server = useRedis();
  let redis: OpenedRedis;
  let scripts: RawQueue;
  let foreignKey: string;
  beforeAll(async () => {
    redis = await openRedis(server.url, server.prefix);
    scripts = rawQueue(redis.connection);
    foreignKey = redis.connection.key('lock', randomUUID());
    await redis.connection.command('test', 'lpush', foreignKey, 'x');
  });
  afterAll(() => redis.app.close());

  it('one owner, in turn, with rising fences; nobody alive is forgotten, nobody that gave up is served', async () => {
    const report = await explore({
      name: 'the queue of a lock',
      setup: () => new QueueModel(redis.connection, scripts, foreignKey).open(['a', 'b', 'c']),
      actors: (model) => ({
        a: model.patient('a'),
        b: model.fickle('b'),
        c: model.patient('c'),
        clock: model.clock(),
      }),
      invariant: (model) => model.check(),
      finalInvariant: (model) => model.drain(),
      teardown: (model) => model.close(),
      crashes: 1,
      onCrash: (model, actor) => model.crash(actor),
      maxSchedules: 60,
      randomSchedules: 140,
      blockedAfterTicks: 100_000,
      deadlockAfterMs: 5_000,
    });
    expect(report.schedules).toBeGreaterThanOrEqual(200);
    expect(report.truncated).toBe(0);
  }, 60_000);
});
