import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { ConfigurationError } from '@lockstep/core';
import { StaleFenceError } from '@lockstep/lock';
import { FencedRedis, fencedRedis } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countCommandsOf } from './support/count-commands.js';
import { type OpenedRedis, openRedis } from './support/redis-store.js';

const RETENTION_MS = 60_000;
/** Neighbours that numbers of floating point, or 14 digits of text, cannot tell apart. */
const NEIGHBOURS = [
  [9n, 10n],
  [1_795_244_190_149_499n, 1_795_244_190_149_500n],
  [9_007_199_254_740_992n, 9_007_199_254_740_993n],
  [999_999_999_999_999_999n, 1_000_000_000_000_000_000n],
  [9_223_372_036_854_775_806n, 9_223_372_036_854_775_807n],
] as const;

const server = useRedis();
let redis: OpenedRedis;
let fenced: FencedRedis;
beforeAll(async () => {
  redis = await openRedis(server.url, server.prefix);
  fenced = new FencedRedis(redis.connection, { fenceRetention: RETENTION_MS });
});
afterAll(() => redis.app.close());

const stored = (key: string) => `${redis.connection.namespace}:fenced:{${key}}`;
const command = (name: string, key: string, ...args: (string | number)[]) =>
  redis.connection.command('test', name, stored(key), ...args);
const pttl = async (key: string) => Number(await command('pttl', key));

describe('values in Redis behind a fence', () => {
  it.each([
    ['nothing is there', undefined],
    ['a value is there', {}],
    ['a value is there for a time', { ttl: '50s' }],
  ] as const)('refuse a write under less than the fence of the last read (C3): %s', async (_, before) => {
    const key = randomUUID();
    if (before) await fenced.write(key, 'before', 1n, before);
    const found = before && 'before';
    expect(await fenced.read(key, 1n)).toBe(found);
    expect(await fenced.read(key, 2n)).toBe(found);
    await expect(fenced.write(key, 'old', 1n)).rejects.toBeInstanceOf(StaleFenceError);
    await fenced.write(key, 'new', 2n);
    expect(await fenced.read(key, 2n)).toBe('new');
  });

  it('refuse read, write and deletion under less than the fence of the last write, and change nothing', async () => {
    const key = randomUUID();
    await fenced.write(key, 'new', 7n);
    const late = [() => fenced.read(key, 6n), () => fenced.write(key, 'old', 6n), () => fenced.delete(key, 6n)];
    for (const attempt of late) {
      await expect(attempt()).rejects.toMatchObject({
        code: 'STALE_FENCE',
        kind: 'conflict',
        retryable: false,
        fence: 6n,
        seen: 7n,
        fields: { resource: key, fence: '6', seen: '7' },
      });
    }
    expect(await fenced.read(key, 7n)).toBe('new');
  });

  it('accept the same fence any number of times', async () => {
    const key = randomUUID();
    for (const value of ['1', '2', '3']) {
      await fenced.write(key, value, 5n);
      expect(await fenced.read(key, 5n)).toBe(value);
    }
  });

  it.each(NEIGHBOURS)('tell %s and %s apart, in both orders', async (less, more) => {
    const key = randomUUID();
    await fenced.write(key, 'less', less);
    expect(await fenced.read(key, more)).toBe('less');
    await fenced.write(key, 'more', more);
    await expect(fenced.write(key, 'late', less)).rejects.toMatchObject({ seen: more });
    await expect(fenced.read(key, less)).rejects.toMatchObject({ seen: more });
    await expect(fenced.delete(key, less)).rejects.toMatchObject({ seen: more });
  });

  it('keep the fence of a value that was deleted', async () => {
    const key = randomUUID();
    await fenced.write(key, 'x', 3n);
    await fenced.delete(key, 4n);
    await expect(fenced.write(key, 'late', 3n)).rejects.toMatchObject({ seen: 4n });
    expect(await fenced.read(key, 4n)).toBeUndefined();
  });

  it('keep the fence of a value that has expired, read or not', async () => {
    const [read, unread] = [randomUUID(), randomUUID()];
    await Promise.all([read, unread].map((key) => fenced.write(key, 'x', 3n, { ttl: '60ms' })));
    expect(await pttl(unread)).toBeGreaterThan(RETENTION_MS - 5_000);
    await eventually(async () => expect(await fenced.read(read, 3n)).toBeUndefined());
    for (const key of [read, unread]) {
      await expect(fenced.write(key, 'late', 2n)).rejects.toMatchObject({ seen: 3n });
      expect(await fenced.read(key, 3n)).toBeUndefined();
    }
  });

  it('leave no key behind for ever but values that were written to stay', async () => {
    const [read, deleted, expiring, staying] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
    await fenced.read(read, 1n);
    await fenced.write(deleted, 'x', 1n);
    await fenced.delete(deleted, 1n);
    await fenced.write(expiring, 'x', 1n, { ttl: 5_000 });
    await fenced.read(expiring, 2n);
    await fenced.write(staying, 'x', 1n);
    await fenced.read(staying, 2n);
    for (const key of [read, deleted]) {
      expect(await pttl(key)).toBeGreaterThan(RETENTION_MS - 5_000);
      expect(await pttl(key)).toBeLessThanOrEqual(RETENTION_MS);
    }
    expect(await pttl(expiring)).toBeGreaterThan(RETENTION_MS);
    expect(await pttl(expiring)).toBeLessThanOrEqual(RETENTION_MS + 5_000);
    expect(await pttl(staying)).toBe(-1);
  });

  it('count the retention of a fence anew from each read', async () => {
    const key = randomUUID();
    for (const prepare of [() => fenced.read(key, 1n), () => fenced.write(key, 'x', 1n, { ttl: 50_000 })]) {
      await prepare();
      await command('pexpire', key, 1_000);
      await fenced.read(key, 1n);
      expect(await pttl(key)).toBeGreaterThan(RETENTION_MS - 5_000);
    }
  });

  it('give back what was written, whatever it is', async () => {
    const key = randomUUID();
    const values = ['', '0', '|', '-|', '1|2|3', '\0\r\n\n', 'Ωλ 🦊', '%', ' '.repeat(3), 'x'.repeat(200_000)];
    for (const value of values) {
      await fenced.write(key, value, 1n);
      expect(await fenced.read(key, 2n)).toBe(value);
      await fenced.delete(key, 2n);
      await command('del', key);
    }
  });

  it('are kept as the README says', async () => {
    const key = randomUUID();
    await fenced.write(key, 'paid|42', 1_795_244_190_149_500n);
    expect(await command('get', key)).toBe('0001795244190149500|-|paid|42');
    await fenced.read(key, 1_795_244_190_149_501n);
    expect(await command('get', key)).toBe('0001795244190149501|-|paid|42');
    await fenced.delete(key, 1_795_244_190_149_501n);
    expect(await command('get', key)).toBe('0001795244190149501||');
  });

  it('cost one command for each call, and one for all calls of a tick', async () => {
    const keys = Array.from({ length: 100 }, () => randomUUID());
    await Promise.all(keys.map((key) => fenced.write(key, '0', 1n)));
    await fenced.read(keys[0] ?? '', 1n);
    await fenced.delete(keys[0] ?? '', 1n);
    const counter = await countCommandsOf(redis.connection, server.url);
    await fenced.read(keys[0] ?? '', 2n);
    await fenced.write(keys[0] ?? '', '1', 2n);
    await fenced.delete(keys[0] ?? '', 2n);
    await Promise.all(keys.map((key) => fenced.read(key, 3n)));
    const mine = await counter.commands();
    counter.stop();
    expect(mine).toEqual(['EVALSHA', 'EVALSHA', 'EVALSHA', 'EVALSHA']);
  });

  it('fail alone when one of a tick meets a key of another kind', async () => {
    const [foreign, list, good] = [randomUUID(), randomUUID(), randomUUID()];
    await command('set', foreign, 'someone wrote this');
    await command('lpush', list, 'x');
    for (const key of [foreign, list]) {
      const outcomes = await Promise.allSettled([
        fenced.read(key, 1n),
        fenced.write(key, 'x', 1n),
        fenced.delete(key, 1n),
        fenced.write(good, 'x', 1n),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected', 'fulfilled']);
      for (const outcome of outcomes.slice(0, 3)) {
        expect(outcome).toMatchObject({ reason: { code: 'REDIS_SCRIPT_FAILED' } });
      }
    }
    expect(await command('get', foreign)).toBe('someone wrote this');
  });

  it('refuse what is no fence, no key and no value before anything is sent', async () => {
    const counter = await countCommandsOf(redis.connection, server.url);
    await counter.reset();
    for (const fence of [undefined, null, 7, '7', -1n, 2n ** 63n]) {
      for (const call of [
        () => fenced.read('k', fence as bigint),
        () => fenced.write('k', 'v', fence as bigint),
        () => fenced.delete('k', fence as bigint),
      ]) {
        await expect(call()).rejects.toMatchObject({ code: 'FENCE_MISUSE', kind: 'misuse' });
      }
    }
    await expect(fenced.read('k', undefined as unknown as bigint)).rejects.toThrow('the store of this lock gives none');
    for (const key of ['', 'x'.repeat(513), 'a\nb', 7 as unknown as string]) {
      await expect(fenced.read(key, 1n)).rejects.toMatchObject({ code: 'FENCE_MISUSE' });
    }
    for (const value of [7 as unknown as string, '\ud800']) {
      await expect(fenced.write('k', value, 1n)).rejects.toMatchObject({ code: 'FENCE_MISUSE' });
    }
    await expect(fenced.write('k', 'v', 1n, { ttl: 0 })).rejects.toBeInstanceOf(ConfigurationError);
    expect(await counter.commands()).toEqual([]);
    counter.stop();
  });

  it('are injected where RedisModule is imported, and say so where it is not', async () => {
    const application = await Test.createTestingModule({
      imports: [RedisModule.forRoot({ url: server.url, namespace: server.prefix })],
      providers: [fencedRedis({ fenceRetention: '2h' })],
    }).compile();
    await application.init();
    const injected = application.get(FencedRedis);
    const key = randomUUID();
    await injected.read(key, 1n);
    expect(await pttl(key)).toBeGreaterThan(7_000_000);
    await application.close();
    const missing = Test.createTestingModule({ providers: [fencedRedis()] }).compile();
    await expect(missing).rejects.toThrow('RedisModule.forRoot');
    expect(() => fencedRedis({ fenceRetention: '1ms' })).toThrow(ConfigurationError);
  });
});
