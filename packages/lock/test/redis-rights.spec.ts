import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { eventually, type RedisServer, startRedis } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedRedis, openRedis } from './support/redis-store.js';
import { forgeWaiters, hold, queued, wish } from './support/redis-wishes.js';
import { lockKey } from './support/stored-lock.js';

let server: RedisServer;
let admin: OpenedRedis;
beforeAll(async () => {
  server = await startRedis();
  admin = await openRedis(server.url, 'rights');
});
afterAll(async () => {
  await admin.app.close();
  await server.stop();
});

async function openAs(user: string, ...rights: string[]): Promise<OpenedRedis> {
  await admin.connection.command(
    'test',
    'acl',
    'setuser',
    user,
    'on',
    '>secret',
    'resetchannels',
    '~*',
    '+@all',
    ...rights,
  );
  return openRedis(server.url.replace('redis://', `redis://${user}:secret@`), 'rights');
}

describe('an account of Redis', () => {
  it('without the right to its channels is told so by calls that have to wait, at once', async () => {
    const mute = await openAs('mute');
    const holder = await hold(mute.store, randomUUID());
    const startedAt = monotonicMs();
    const error = await mute.store.acquire(wish(holder.key, { waitMs: 30_000 })).catch((cause: unknown) => cause);
    expect(monotonicMs() - startedAt).toBeLessThan(3_000);
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
    expect(String((error as Error).cause)).toContain('NOPERM');
    expect(await mute.store.acquire(wish(holder.key))).toMatchObject({ status: 'busy' });
    expect(await mute.store.release([holder])).toEqual([{ status: 'released' }]);
    await mute.app.close();
  });

  it('without the right to publish still releases, and the waiter of another finds its grant', async () => {
    const mute = await openAs('mute');
    const holder = await hold(mute.store, randomUUID(), { ttlMs: 3_000 });
    const waiter = await queued(admin, holder.key);
    expect(await mute.store.release([holder])).toEqual([{ status: 'released' }]);
    expect((await waiter.held).fence).toBeGreaterThan(holder.fence);
    await mute.app.close();
  });

  it('without the right to count listeners hands locks on, past the dead by their short lease', async () => {
    const blind = await openAs('blind', 'allchannels', '-pubsub');
    const holder = await hold(blind.store, randomUUID());
    await forgeWaiters(admin.connection, holder.key, [
      { token: randomUUID(), process: 'killed' },
      { token: randomUUID(), process: 'killed' },
    ]);
    const waiter = await queued(blind, holder.key);
    const startedAt = monotonicMs();
    await blind.store.release([holder]);
    await waiter.held;
    expect(monotonicMs() - startedAt).toBeLessThan(4_000);
    await blind.app.close();
  });
});

describe('a key that holds something else', () => {
  const strangers: Array<[string, (key: string) => Promise<unknown>]> = [
    ['a list', (key) => admin.connection.command('test', 'lpush', key, 'x')],
    ['a word', (key) => admin.connection.command('test', 'set', key, 'hello')],
    ['the beginning of a lock', (key) => admin.connection.command('test', 'set', key, 'token|12')],
    ['bars', (key) => admin.connection.command('test', 'set', key, '||||')],
    ['nothing', (key) => admin.connection.command('test', 'set', key, '')],
  ];
  it.each(strangers)('(%s) fails alone, whatever is asked, and is left as it is', async (_what, put) => {
    const key = randomUUID();
    await put(lockKey(admin.connection, key));
    const before = await admin.connection.command('test', 'dump', lockKey(admin.connection, key));
    const wishes = [wish(key), wish(randomUUID()), wish(key, { capacity: 2 })];
    const outcomes = await Promise.allSettled(wishes.map((each) => admin.store.acquire(each)));
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected']);
    expect(outcomes[0]).toMatchObject({ reason: { code: 'REDIS_SCRIPT_FAILED' } });
    const startedAt = monotonicMs();
    await expect(admin.store.acquire(wish(key, { waitMs: 10_000 }))).rejects.toMatchObject({
      code: 'REDIS_SCRIPT_FAILED',
    });
    expect(monotonicMs() - startedAt).toBeLessThan(2_000);
    await admin.store.release([{ key, token: 'token', deadline: 0 }]);
    await admin.store.extend([{ key, token: 'token', ttlMs: 1_000 }]);
    expect(await admin.connection.command('test', 'dump', lockKey(admin.connection, key))).toEqual(before);
  });
});

describe('a server that refuses to write', () => {
  it('is not asked in a hurry by those who wait', async () => {
    const holder = await hold(admin.store, randomUUID(), { ttlMs: 300 });
    const waiter = await queued(admin, holder.key, { waitMs: 1_500 });
    await admin.connection.command('test', 'config', 'set', 'min-replicas-to-write', '1');
    await admin.connection.command('test', 'config', 'resetstat');
    await expect(waiter.held).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const stats = String(await admin.connection.command('test', 'info', 'commandstats'));
    await admin.connection.command('test', 'config', 'set', 'min-replicas-to-write', '0');
    expect(Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0)).toBeLessThan(60);
    await eventually(() => hold(admin.store, holder.key));
  });
});
