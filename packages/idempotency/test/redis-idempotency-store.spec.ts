import 'reflect-metadata';
import { operationId } from '@lockstep/idempotency';
import { describeIdempotencyStoreContract } from '@lockstep/idempotency/contract';
import type { RedisCommandCounter } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countCommandsOf } from './support/count-commands.js';
import { recordKey, runningKey } from './support/redis-keys.js';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';

const server = useRedis();

describeIdempotencyStoreContract({ name: 'redis', open: () => openRedisStore(server.url, `${server.prefix}c`) });

describe('RedisIdempotencyStore', () => {
  let opened: OpenRedisStore;
  let counter: RedisCommandCounter;
  let serial = 0;

  beforeAll(async () => {
    opened = await openRedisStore(server.url, server.prefix);
    counter = await countCommandsOf(opened.redis, server.url);
    await opened.store.sweep(10); // loads nothing that a fact below would count
  });
  afterAll(async () => {
    counter.stop();
    await opened.close();
  });

  const request = (change: object = {}) => {
    serial += 1;
    return {
      id: operationId({ scope: 'test', operation: 'POST /orders', key: `key-${serial}` }),
      fingerprint: 'fp',
      owner: `owner-${serial}`,
      operation: 'POST /orders',
      leaseMs: 10_000,
      retentionMs: 10_000,
      onLeaseExpiry: 'uncertain' as const,
      applyWithinMs: 5_000,
      ...change,
    };
  };
  const recordOf = (id: string) => recordKey(opened.redis, id);

  it('refuses a begin that arrives after nobody waits for it any more', async () => {
    expect(await opened.store.begin(request({ applyWithinMs: -5_000 }))).toEqual({ outcome: 'late' });
  });

  it('sends the concurrent begins of a tick as one command', async () => {
    await counter.reset();
    await Promise.all(Array.from({ length: 20 }, () => opened.store.begin(request())));
    const commands = await counter.commands();
    expect(commands.length).toBeLessThanOrEqual(2); // a second one where the script was not known yet
    expect(commands.every((name) => name.startsWith('EVAL'))).toBe(true);
  });

  it('keeps a record of policy retry longer than its lease, and one of policy uncertain without an end', async () => {
    const [retry, uncertain] = [request({ onLeaseExpiry: 'retry', retentionMs: 1_000 }), request()];
    await opened.store.begin(retry);
    await opened.store.begin(uncertain);
    expect(await opened.redis.command('test', 'pttl', recordOf(retry.id))).toBeGreaterThan(retry.leaseMs);
    expect(await opened.redis.command('test', 'pttl', recordOf(uncertain.id))).toBe(-1);
  });

  it('leaves no key without an end behind once an operation of policy uncertain is settled', async () => {
    const begun = request();
    await opened.store.begin(begun);
    await opened.store.settle(begun, { to: 'completed', response: '1', retentionMs: 1_000 });
    expect(await opened.redis.command('test', 'pttl', recordOf(begun.id))).toBeGreaterThan(0);
    const running = runningKey(opened.redis, begun.id);
    expect(await opened.redis.command('test', 'zscore', running, `${begun.id} POST /orders`)).toBeNull();
  });

  it('keeps fences of 16 digits apart', async () => {
    const begun = request();
    const first = await opened.store.begin(begun);
    await opened.store.settle(begun, { to: 'released', notApplied: false, retentionMs: 1_000 });
    await opened.redis.command('test', 'hset', recordOf(begun.id), 'fe', '9007199254740000');
    const second = await opened.store.begin({ ...begun, owner: 'next' });
    expect(first).toMatchObject({ outcome: 'acquired' });
    expect(second).toMatchObject({ outcome: 'acquired', fence: 9_007_199_254_740_001n });
  });

  it('renews the others when one record of the batch cannot be read', async () => {
    const [good, bad] = [request(), request()];
    await opened.store.begin(good);
    await opened.redis.command('test', 'set', recordOf(bad.id), 'not a hash', 'PX', 10_000);
    expect(await opened.store.renew([bad, good])).toEqual(['unknown', 'renewed']);
    await expect(opened.store.renew([bad])).rejects.toMatchObject({ code: 'REDIS_SCRIPT_FAILED' });
  });
});
