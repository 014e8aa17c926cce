import 'reflect-metadata';
import { monotonicMs } from '@lockstep/core';
import { LockService, type StoreLoss } from '@lockstep/lock';
import {
  eventually,
  type FaultProxy,
  freePort,
  type PostgresServer,
  startFaultProxy,
  startPostgres,
} from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hold, wish } from './support/lock-requests.js';
import { PostgresLocks } from './support/postgres-locks.js';
import { type OpenedPostgres, openPostgres } from './support/postgres-store.js';

const TIMEOUT_MS = 300;
let server: PostgresServer;
let proxy: FaultProxy;
let far: OpenedPostgres;
let near: OpenedPostgres;
let losses: StoreLoss[];
const onLost = (cause: StoreLoss): number => losses.push(cause);

beforeAll(async () => {
  server = await startPostgres();
  proxy = await startFaultProxy({ target: server.url });
});
beforeEach(async () => {
  losses = [];
  near = await openPostgres(server.url);
  far = await openPostgres(server.url, { lockUrl: proxy.urlFor(server.url), commandTimeout: TIMEOUT_MS, waiters: 2 });
  await eventually(() => hold(far.store));
});
afterEach(async () => {
  await proxy.heal();
  await Promise.all([far.app.close(), near.app.close()]);
});
afterAll(async () => {
  await proxy.stop();
  await server.stop();
});

describe('a Postgres that misbehaves', () => {
  it('that ends the session tells its holders at once, and others get their locks', async () => {
    const locks = await PostgresLocks.connect(server.url);
    const holders = [await hold(far.store, { onLost }), await hold(far.store, { onLost })];
    for (const pid of await locks.sessions()) await locks.terminate(pid);
    await eventually(() => expect(losses).toEqual(['session', 'session']));
    expect(await far.store.release(holders)).toEqual([{ status: 'not-held' }, { status: 'not-held' }]);
    await hold(near.store, { key: holders[0]?.key ?? '' });
    await hold(far.store);
    await locks.end();
  });

  it('that ends the session aborts the lease of the service at once', async () => {
    const locks = await PostgresLocks.connect(server.url);
    const service = near.app.get(LockService);
    const lease = await service.acquire('settlement', { ttl: '1h' });
    const aborted = new Promise((resolve) =>
      lease.signal.addEventListener('abort', () => resolve(lease.signal.reason)),
    );
    for (const pid of await locks.sessions()) await locks.terminate(pid);
    expect(await aborted).toMatchObject({ code: 'LOCK_LOST', loss: 'session' });
    expect(lease.isHeld()).toBe(false);
    await lease.release();
    await locks.end();
  });

  it('that ends the session of a waiter lets it wait on in another one', async () => {
    const locks = await PostgresLocks.connect(server.url);
    const before = await locks.sessions();
    const holder = await hold(near.store);
    const [carrier] = (await locks.sessions()).filter((pid) => !before.includes(pid));
    const waiter = hold(far.store, { key: holder.key, waitMs: 15_000 });
    await eventually(async () => expect(await locks.count(false)).toBe(1));
    const { rows } = await locks.client.query(`SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`);
    expect(rows[0].pid).not.toBe(carrier);
    await locks.terminate(rows[0].pid);
    await eventually(async () => expect(await locks.count(false)).toBe(1));
    await near.store.release([holder]);
    expect((await waiter).fence).toBeGreaterThan(holder.fence);
    await locks.end();
  });

  it('that hangs is unavailable within the command timeout, never busy, and leaves no ghost lock', async () => {
    const kept = await hold(far.store, { onLost });
    proxy.blackhole();
    const asked = wish();
    const startedAt = monotonicMs();
    const many = await Promise.allSettled([1, 2, 3].map(() => far.store.acquire({ ...asked })));
    expect(monotonicMs() - startedAt).toBeLessThan(TIMEOUT_MS * 5);
    for (const each of many) expect(each).toMatchObject({ reason: { code: 'STORE_UNAVAILABLE' } });
    expect(losses).toEqual([]);
    await proxy.heal();
    await eventually(() => hold(near.store, { key: asked.key }));
    // Its session fell silent for a while, and carries it still.
    expect(await far.store.extend([{ ...kept, ttlMs: 10_000 }])).toMatchObject([{ status: 'extended' }]);
    expect(await near.store.acquire(wish({ key: kept.key }))).toMatchObject({ status: 'busy' });
    expect(await far.store.release([kept])).toEqual([{ status: 'released' }]);
    await hold(near.store, { key: kept.key });
  });

  it('that hangs while a waiter waits is unavailable soon after the wait, never busy', async () => {
    const holder = await hold(near.store);
    const locks = await PostgresLocks.connect(server.url);
    const waiter = far.store.acquire(wish({ key: holder.key, waitMs: 500 }));
    await eventually(async () => expect(await locks.count(false)).toBe(1));
    proxy.blackhole();
    await expect(waiter).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'unknown' });
    await near.store.release([holder]);
    await eventually(() => hold(near.store, { key: holder.key }));
    await locks.end();
  });

  it('that is restarted loses all its locks, tells their holders, and is found again', async () => {
    const holder = await hold(far.store, { onLost });
    const waiter = far.store.acquire(wish({ key: holder.key, waitMs: 20_000 }));
    const settled = Promise.allSettled([waiter]);
    await server.restart();
    await eventually(() => expect(losses).toEqual(['session']));
    const [waited] = await settled;
    // Granted where a new session could be opened at that moment, unavailable where not; never busy.
    if (waited?.status === 'fulfilled') expect(waited.value.status).toBe('granted');
    else expect(waited?.reason).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const next = await eventually(() => hold(far.store));
    expect(next.fence).toBeGreaterThan(holder.fence);
  });

  it('that is down is unavailable, and the application starts without it', async () => {
    const port = await freePort();
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
    const early = await openPostgres(url, { commandTimeout: TIMEOUT_MS });
    expect(early.codes).toEqual([]);
    const startedAt = monotonicMs();
    await expect(early.store.acquire(wish({ waitMs: 10_000 }))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(monotonicMs() - startedAt).toBeLessThan(TIMEOUT_MS * 5);
    const late = await startPostgres({ port });
    await eventually(() => hold(early.store));
    await early.app.close();
    await late.stop();
  });

  it('never lets a deadline lie later than it was asked for', async () => {
    proxy.delay(30);
    const asked = wish({ ttlMs: 5_000 });
    const before = monotonicMs();
    const grant = await far.store.acquire(asked);
    const sent = monotonicMs();
    const [extended] = await far.store.extend([asked]);
    expect(grant).toMatchObject({ status: 'granted' });
    if (grant.status === 'granted') expect(grant.deadline).toBeLessThanOrEqual(before + 5_000 + 10);
    if (extended?.status === 'extended') expect(extended.deadline).toBeLessThanOrEqual(sent + 5_000 + 10);
  });

  it('that grants after a long wait gives a whole lease, counted in its own time', async () => {
    const holder = await hold(near.store);
    const waiter = hold(far.store, { key: holder.key, waitMs: 10_000, ttlMs: 2_000 });
    const locks = await PostgresLocks.connect(server.url);
    await eventually(async () => expect(await locks.count(false)).toBe(1));
    const until = monotonicMs() + 600;
    await eventually(() => expect(monotonicMs()).toBeGreaterThan(until));
    const releasedAt = monotonicMs();
    await near.store.release([holder]);
    const { deadline } = await waiter;
    expect(deadline).toBeGreaterThan(releasedAt + 1_900);
    expect(deadline).toBeLessThanOrEqual(monotonicMs() + 2_000);
    await locks.end();
  });

  it('keeps a session that it cannot reach for at least the longest lease on it', async () => {
    await hold(near.store, { ttlMs: 120_000 });
    const session = Reflect.get(near.store, 'sessions').current;
    const settings = await session.query(
      `SELECT name, setting FROM pg_settings WHERE name IN ('idle_session_timeout', 'tcp_user_timeout', 'tcp_keepalives_idle') ORDER BY name`,
      [],
    );
    expect(settings).toEqual([
      { name: 'idle_session_timeout', setting: '121000' },
      { name: 'tcp_keepalives_idle', setting: '121' },
      { name: 'tcp_user_timeout', setting: '126000' },
    ]);
  });
});
