import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { eventually, type FaultProxy, spawnNode, startFaultProxy, startRedis } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startLockApp } from './support/lock-app.js';
import { type OpenedRedis, openRedis, openRedisStore } from './support/redis-store.js';
import {
  forgeWaiters,
  type Held,
  hold,
  listenAs,
  queued,
  queueOf,
  recordsOf,
  type Waiter,
} from './support/redis-wishes.js';
import { splitClient } from './support/split-client.js';
import { ownerOf, storedLock } from './support/stored-lock.js';
import { blockEventLoop, passed } from './support/time.js';

const CLAIM_MS = 2_000;
const server = useRedis();
let redis: OpenedRedis;
let rival: OpenedRedis;
/** Its commands and its pushes come over proxies of their own. */
let far: OpenedRedis;
let commands: FaultProxy;
let pushes: FaultProxy;

beforeAll(async () => {
  redis = await openRedis(server.url, server.prefix);
  rival = await openRedis(server.url, server.prefix);
  commands = await startFaultProxy({ target: server.url });
  pushes = await startFaultProxy({ target: server.url });
  const client = splitClient(commands.urlFor(server.url), pushes.urlFor(server.url));
  far = await openRedisStore({ client, namespace: server.prefix });
  await openChannel(rival);
  await openChannel(far);
});
afterEach(() => Promise.all([commands.heal(), pushes.heal()]));
afterAll(async () => {
  await Promise.all([redis, rival, far].map(({ app }) => app.close()));
  await Promise.all([commands.stop(), pushes.stop()]);
});

/** Its first waiter opens the channel of a process; those that follow ask for their place at once. */
async function openChannel(opened: OpenedRedis): Promise<void> {
  const { key } = await hold(redis.store, randomUUID());
  const waiter = await queued(opened, key);
  waiter.abort();
}

/** Its place in the queue is looked up over the fast way: seen over its own, its answer would be there by then. */
function seenNear({ store }: OpenedRedis): Pick<OpenedRedis, 'store' | 'connection'> {
  return { store, connection: redis.connection };
}

/** When the lease ends at the server, on the clock of this process: both read the same machine's. */
async function serverEnd(key: string): Promise<number> {
  const stored = await storedLock(redis.connection, key);
  return (stored?.leaseEnd ?? 0) - (performance.timeOrigin + performance.now() - monotonicMs());
}

/** Releases, and stops this process before it can read the push that follows. */
async function releaseAndBlock(holder: Held, waiter: Waiter, ms: number): Promise<void> {
  let isServed = false;
  const note = (): void => {
    isServed = true;
  };
  waiter.held.then(note, note);
  const released = redis.store.release([holder]);
  await afterMicrotasks(30, () => blockEventLoop(ms)); // by then the command is on its way
  expect(isServed).toBe(false);
  await released;
}

async function timed<T>(promise: Promise<T>): Promise<{ value: T; ms: number }> {
  const startedAt = monotonicMs();
  const value = await promise;
  return { value, ms: monotonicMs() - startedAt };
}

describe('a lock that is handed on', () => {
  it('is never believed longer than the server keeps it, however late the push is read (C1)', async () => {
    const overshoots: number[] = [];
    for (let round = 0; round < 40; round += 1) {
      const holder = await hold(redis.store, randomUUID());
      const waiter = await queued(rival, holder.key);
      await releaseAndBlock(holder, waiter, 110);
      const { deadline } = await waiter.held;
      overshoots.push(deadline - (await serverEnd(holder.key)));
    }
    expect(Math.max(...overshoots)).toBeLessThanOrEqual(1);
    expect(Math.min(...overshoots)).toBeGreaterThan(-1_000);
  });

  it('is asked for again when its short lease was over on arrival, and believed only then (C1)', async () => {
    const holder = await hold(redis.store, randomUUID());
    const waiter = await queued(rival, holder.key, { ttlMs: 1_000 });
    await releaseAndBlock(holder, waiter, 1_200);
    const { deadline, token } = await waiter.held;
    expect(deadline).toBeGreaterThan(monotonicMs());
    expect(await ownerOf(redis.connection, holder.key)).toBe(token);
  });

  it('is kept by whom it went to however long its lease is to be: the short one of a push is confirmed in time', async () => {
    const module = RedisModule.forRoot({ url: server.url, namespace: server.prefix });
    const { app, locks } = await startLockApp({ ttl: '1h', wait: '10s' }, redisLockStore(), [module]);
    const key = randomUUID();
    const first = await locks.acquire(key);
    const served: number[] = [];
    const waiters: Promise<void>[] = [];
    for (const n of [1, 2, 3]) {
      waiters.push(
        locks.using(key, {}, async (lease) => {
          served.push(n);
          await eventually(() => expect(lease.deadline - monotonicMs()).toBeGreaterThan(CLAIM_MS));
          expect(lease.isHeld()).toBe(true);
        }),
      );
      await eventually(async () => expect(await queueOf(redis.connection, key)).toHaveLength(n));
    }
    await first.release();
    await Promise.all(waiters);
    expect(served).toEqual([1, 2, 3]);
    await app.close();
  });

  it('reaches a waiter whose push overtakes the answer to its request (H1e)', async () => {
    const holder = await hold(redis.store, randomUUID());
    commands.delay(400, 'toClient');
    const waiter = await queued(seenNear(far), holder.key);
    await redis.store.release([holder]);
    const { deadline, fence } = await waiter.held;
    expect(fence).toBeGreaterThan(holder.fence);
    expect(deadline - (await serverEnd(holder.key))).toBeLessThanOrEqual(1);
  });

  it('that is only a word to ask again is not lost to the older answer that it overtakes', async () => {
    const holder = await hold(redis.store, randomUUID());
    commands.delay(400, 'toClient');
    const waiter = await queued(seenNear(far), holder.key, { fairness: 'barging' });
    const { ms } = await timed(Promise.all([redis.store.release([holder]), waiter.held]));
    expect(ms).toBeLessThan(5_000);
  });

  it('is given back at once by a process in which nobody waits for it any longer (H1e)', async () => {
    const holder = await hold(redis.store, randomUUID());
    const waiter = await queued(rival, holder.key);
    const process = await processOf(holder.key);
    waiter.abort();
    await eventually(async () => expect(await queueOf(redis.connection, holder.key)).toEqual([]));
    await forgeWaiters(redis.connection, holder.key, [{ token: randomUUID(), process }]);
    const next = await queued(redis, holder.key);
    const { ms } = await timed(Promise.all([redis.store.release([holder]), next.held]));
    expect(ms).toBeLessThan(CLAIM_MS / 2);
  });

  it('stands still for one short lease when it went to a process that is stopped (H1a)', async () => {
    const key = randomUUID();
    const holder = await hold(redis.store, key);
    const env = { REDIS_URL: server.url, NAMESPACE: server.prefix, TTL_MS: '60000' };
    const child = spawnNode(new URL('./support/crash-holder.mjs', import.meta.url), { env });
    await child.waitForMessage((message) => typeof message === 'object' && message !== null && 'ready' in message);
    child.send({ ask: 'acquire', key });
    await eventually(async () => expect(await queueOf(redis.connection, key)).toHaveLength(1));
    child.sigstop();
    const next = await queued(rival, key);
    const { ms } = await timed(Promise.all([redis.store.release([holder]), next.held]));
    expect(ms).toBeGreaterThan(CLAIM_MS - 100);
    expect(ms).toBeLessThan(CLAIM_MS + 1_500);
    await child.sigkill();
  });

  it('stands still once, not once for each waiter of the stopped process (H1a)', async () => {
    const holder = await hold(redis.store, randomUUID());
    const heard: string[] = [];
    const unsubscribe = await listenAs(redis.connection, 'stopped', heard);
    const stopped = Array.from({ length: 5 }, () => ({ token: randomUUID(), process: 'stopped' }));
    await forgeWaiters(redis.connection, holder.key, stopped);
    const next = await queued(rival, holder.key);
    const { ms } = await timed(Promise.all([redis.store.release([holder]), next.held]));
    expect(ms).toBeLessThan(CLAIM_MS + 1_500);
    // Those that were left out are told to come back: the process may wake up again.
    await eventually(() => {
      const told = heard.map((message) => message.split(',')[0]);
      expect(new Set(told)).toEqual(new Set(stopped.map(({ token }) => token)));
    });
    await unsubscribe();
  });

  it('keeps the place of a waiter that lost its connection for a moment (H1b)', async () => {
    const holder = await hold(redis.store, randomUUID());
    const early = await queued(far, holder.key);
    const live = await queued(rival, holder.key);
    pushes.cut();
    pushes.refuse();
    await redis.store.release([holder]);
    const second = await live.held;
    expect(await queueOf(redis.connection, holder.key)).toEqual([]);
    const late = await queued(redis, holder.key);
    await pushes.heal();
    await eventually(async () =>
      expect(await queueOf(redis.connection, holder.key)).toEqual([early.token, late.token]),
    );
    await rival.store.release([second]);
    await far.store.release([await early.held]);
    expect((await late.held).fence).toBeGreaterThan((await early.held).fence);
  });

  it('is not taken by a waiter that its server counts as gone but a replica reaches (H2)', async () => {
    const master = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
    const replica = await startRedis({ args: ['--replicaof', master.host, String(master.port)] });
    const own = await openRedis(master.url, 'h2');
    await eventually(async () => {
      expect(String(await own.connection.command('test', 'info', 'replication'))).toContain('state=online');
    });
    const astray = await openRedisStore({ client: splitClient(master.url, replica.url), namespace: 'h2' });
    const holder = await hold(own.store, randomUUID());
    const owners: Held[] = [];
    const lost = await queued(astray, holder.key);
    lost.held.then(
      (held) => owners.push(held),
      () => undefined,
    );
    const next = await queued(own, holder.key);
    next.held.then(
      (held) => owners.push(held),
      () => undefined,
    );
    await own.store.release([holder]);
    await next.held;
    await passed(300);
    expect(owners.map(({ token }) => token)).toEqual([next.token]);
    await Promise.all([own.app.close(), astray.app.close()]);
    await Promise.all([replica.stop(), master.stop()]);
  });

  it('is not remembered for a waiter that aborted while the push was on its last steps', async () => {
    const own = await openRedis(server.url, server.prefix);
    await openChannel(own);
    for (let steps = 0; steps < 24; steps += 1) {
      const holder = await hold(redis.store, randomUUID());
      const waiter = await queued(own, holder.key);
      const process = await processOf(holder.key);
      const unsubscribe = await own.connection.subscribe(
        `${server.prefix}:lock-push:${process}`,
        () => void afterMicrotasks(steps, waiter.abort),
      );
      await redis.store.release([holder]);
      await waiter.held.then(
        (held) => own.store.release([held]),
        () => undefined,
      );
      await eventually(async () => expect(await ownerOf(redis.connection, holder.key)).toBeUndefined());
      await unsubscribe();
    }
    expect(Reflect.get(Reflect.get(own.store, 'echoes') as object, 'echoes')).toEqual(new Map());
    await own.app.close();
  });
});

/** Of whoever waits first. */
async function processOf(key: string): Promise<string> {
  const [first] = await recordsOf(redis.connection, key);
  if (!first) throw new Error('nobody waits');
  return first.process;
}

async function afterMicrotasks(count: number, then: () => void): Promise<void> {
  for (let n = 0; n < count; n += 1) await Promise.resolve();
  then();
}
