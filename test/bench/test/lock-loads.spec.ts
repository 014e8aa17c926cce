import { type RedisServer, startRedis } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandsPerOperation } from '../src/lock/counting.js';
import { handoff } from '../src/lock/handoff.js';
import { idleWaiters } from '../src/lock/idle-waiters.js';
import { type LockLibrary, uncontended } from '../src/lock/locker.js';
import { ours } from '../src/lock/ours.js';
import { dealToken, rawLock, rawQuorum, tokenRing } from '../src/lock/raw.js';
import { ideal, waiters } from '../src/lock/waiters.js';

// A server of their own: some of these count what all of its clients send.
let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('the hand-off load', () => {
  const load = { clients: 8, thinkMs: [5, 15], holdMs: 1 } as const;

  test('lets every client have its turn and tells how long each waited', async () => {
    const bench = await handoff(tokenRing, server.url, load, (key) => dealToken(server.url, key)).open();
    const slice = await bench.run(400);
    await bench.close();
    expect(slice.shares).toHaveLength(8);
    expect(Math.min(...(slice.shares ?? []))).toBeGreaterThan(0);
    expect(slice.operations).toBe(slice.shares?.reduce((sum, share) => sum + share));
    expect(slice.latenciesMs?.length).toBeGreaterThanOrEqual(slice.operations);
    expect(slice.elapsedMs).toBe(400);
  });

  test('fails a library that lets two hold at once', async () => {
    const noLock: LockLibrary = {
      name: 'no lock',
      open: async () => ({ hold: (_key, work) => work(), close: async () => undefined }),
    };
    const bench = await handoff(noLock, server.url, { ...load, holdMs: 20 }).open();
    await expect(bench.run(400)).rejects.toThrow('2 holders at once');
  });
});

describe('the waiters', () => {
  const load = { waiters: 4, holdMs: 5 };

  test('hold one after the other, so that a round takes no less than all holds together', async () => {
    const bench = await waiters(ours, server.url, load).open();
    const { operations, latenciesMs = [] } = await bench.run(1);
    await bench.close();
    expect(operations).toBe(1);
    // A timer may fire up to a millisecond early.
    expect(latenciesMs[0]).toBeGreaterThanOrEqual(4 * (5 - 1));
  });

  test('are measured against the sum of their holds', async () => {
    const slice = await (await ideal(load).open()).run(1000);
    expect(slice).toMatchObject({ operations: 1, elapsedMs: 20 });
  });

  test('that are idle send nothing, while the holder extends its lease beside them', async () => {
    // Extended at a third of its length, that is once while the waiters are watched.
    await expect(idleWaiters(server.url, { waiters: 2, leaseMs: 6000, watchedMs: 2100 })).resolves.toBe(0);
  });
});

test('commands are counted at the server, for each operation', async () => {
  await expect(commandsPerOperation(server.url, uncontended(rawLock, [server.url], 1), 20)).resolves.toBe(2);
});

describe('the raw quorum', () => {
  // Three databases of one server share no key.
  const urls = (): string[] => [0, 1, 2].map((database) => `${server.url}/${database}`);

  async function holdWithTaken(key: string, databases: number): Promise<boolean> {
    const clients = urls().map((url) => new Redis(url));
    await Promise.all(clients.slice(0, databases).map((client) => client.set(key, 'another')));
    const locker = await rawQuorum.open(urls());
    let hasWorked = false;
    const work = async (): Promise<void> => {
      hasWorked = true;
    };
    await locker.hold(key, work).catch((error: unknown) => expect(error).toEqual(new Error('no majority')));
    await locker.close();
    await Promise.all(clients.map((client) => client.quit()));
    return hasWorked;
  }

  test('works with one of three servers against it, and not with two', async () => {
    await expect(holdWithTaken('one', 1)).resolves.toBe(true);
    await expect(holdWithTaken('two', 2)).resolves.toBe(false);
  });
});
