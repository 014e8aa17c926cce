import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Incidents, monotonicMs } from '@lockstep/core';
import type { LockStore, StoreLoss } from '@lockstep/lock';
import { type ZooKeeperLockStoreOptions, zookeeperLockStore } from '@lockstep/lock/zookeeper';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { useZooKeeper } from '@lockstep/testing/vitest';
import zookeeperClient, { type Client } from 'node-zookeeper-client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startLockApp } from './support/lock-app.js';
import { hold, looker, type OpenedZooKeeper, openZooKeeper, requestFor } from './support/zookeeper-store.js';

const SESSION_MS = 2_000;
const COMMAND_MS = 500;
/** The first answer on every connection: length, version, timeout, session id, password, read-only. */
const CONNECT_ANSWER_BYTES = 4 + 4 + 4 + 8 + 4 + 16 + 1;
const zookeeper = useZooKeeper();
let proxy: FaultProxy;
let direct: LockStore;
let faulty: OpenedZooKeeper;
let unhandled: unknown[];
const note = (reason: unknown): void => void unhandled.push(reason);

beforeAll(async () => {
  proxy = await startFaultProxy({ target: zookeeper.server.url });
});
beforeEach(async () => {
  unhandled = [];
  process.on('unhandledRejection', note);
  direct = (await open({})).store;
  faulty = await open({ connect: `${proxy.host}:${proxy.port}` });
  await Promise.all([direct.inspect('ready'), faulty.store.inspect('ready')]);
});
afterEach(async () => {
  zookeeper.server.resume();
  await proxy.heal();
  await Promise.all([direct.close(), faulty.store.close()]);
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});
afterAll(() => proxy.stop());

function open(options: Partial<ZooKeeperLockStoreOptions>): Promise<OpenedZooKeeper> {
  const { connectString: connect, root } = zookeeper;
  return openZooKeeper({ connect, root, sessionTimeout: SESSION_MS, commandTimeout: COMMAND_MS, ...options });
}

/** A lock whose loss is noted, with the time by the holder's clock. */
async function watchedHold(store: LockStore, key: string) {
  const losses: { cause: StoreLoss; at: number }[] = [];
  const onLost = (cause: StoreLoss): void => void losses.push({ cause, at: monotonicMs() });
  return { ...(await hold(store, key, { onLost })), losses };
}

/**
 * Ends a session as its owner could: from another connection, with its id and password. The first connection is kept
 * out meanwhile, because it would take the session back.
 */
async function endSession(client: Client | undefined): Promise<void> {
  if (!client) throw new Error('there is no session');
  // The client takes these two, which its types do not know.
  const identity: object = { sessionId: client.getSessionId(), sessionPassword: client.getSessionPassword() };
  const second = zookeeperClient.createClient(zookeeper.connectString, identity);
  const connected = new Promise<void>((resolve) => second.once('connected', resolve));
  const closed = new Promise<void>((resolve) => second.once('disconnected', resolve));
  proxy.refuse();
  second.connect();
  await connected;
  second.close();
  await closed;
  await proxy.heal();
}

describe('a silent server', () => {
  it('costs the leases before it could give the session away', { timeout: 30_000 }, async () => {
    const held = await watchedHold(faulty.store, randomUUID());
    const until = monotonicMs() + SESSION_MS;
    // Asked all the time: the last answer is as young as can be when the silence begins.
    await eventually(async () => {
      expect((await faulty.store.extend([{ ...held, ttlMs: 10_000 }]))[0]).toMatchObject({ status: 'extended' });
      expect(monotonicMs()).toBeGreaterThan(until);
    });
    zookeeper.server.pause();
    const pausedAt = monotonicMs();
    await eventually(() => expect(held.losses).toHaveLength(1), { timeoutMs: SESSION_MS * 2, intervalMs: 5 });
    expect(held.losses[0]?.cause).toBe('backend');
    expect((held.losses[0]?.at ?? 0) - pausedAt).toBeLessThan(SESSION_MS);
    await eventually(() => expect(monotonicMs()).toBeGreaterThan(pausedAt + 5_000), { timeoutMs: 6_000 });
    zookeeper.server.resume();
    const successor = await eventually(() => hold(direct, held.key, { waitMs: 1_000 }), { timeoutMs: 10_000 });
    expect(successor.fence).toBeGreaterThan(held.fence);
    expect(faulty.incidents.map(({ code }) => code)).toContain('LOCK_SESSION_SILENT');
    await direct.release([successor]);
  });

  it('aborts the work under a lease by the deadline that the lease names', { timeout: 30_000 }, async () => {
    const { connectString: connect, root } = zookeeper;
    const running = await startLockApp(
      { ttl: '30s', wait: '1s' },
      zookeeperLockStore({ connect, root, sessionTimeout: SESSION_MS, commandTimeout: COMMAND_MS }),
    );
    const lease = await running.locks.acquire(randomUUID());
    const beyond = monotonicMs() + SESSION_MS * 1.5;
    await eventually(() => expect(monotonicMs()).toBeGreaterThan(beyond));
    expect(lease.isHeld()).toBe(true);
    zookeeper.server.pause();
    const pausedAt = monotonicMs();
    let abortedAt = 0;
    lease.signal.addEventListener('abort', () => {
      abortedAt = monotonicMs();
    });
    await eventually(() => expect(abortedAt).toBeGreaterThan(0), { timeoutMs: SESSION_MS * 2, intervalMs: 5 });
    expect(abortedAt - pausedAt).toBeLessThan(SESSION_MS);
    expect(lease.signal.reason).toMatchObject({ code: 'LOCK_LOST', loss: 'backend' });
    zookeeper.server.resume();
    await running.app.close();
  });

  it('is unavailable within the command timeout, never busy, and grants again when it is back', {
    timeout: 30_000,
  }, async () => {
    const key = randomUUID();
    const held = await hold(direct, key);
    zookeeper.server.pause();
    const startedAt = monotonicMs();
    const outage = { code: 'STORE_UNAVAILABLE', outcome: 'not-applied' };
    await expect(faulty.store.acquire(requestFor(key))).rejects.toMatchObject(outage);
    await expect(faulty.store.acquire(requestFor(key, { waitMs: 100 }))).rejects.toMatchObject(outage);
    await expect(faulty.store.inspect(key)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(monotonicMs() - startedAt).toBeLessThan(COMMAND_MS * 5);
    zookeeper.server.resume();
    await direct.release([held]);
    const again = await eventually(() => hold(faulty.store, key), { timeoutMs: 10_000 });
    await eventually(async () => expect((await direct.inspect(key)).waiters).toBe(0)); // what was given up is gone
    expect((await direct.inspect(key)).holders.map(({ token }) => token)).toEqual([again.token]);
  });

  it('fails those who wait instead of letting them wait for nothing', { timeout: 30_000 }, async () => {
    const key = randomUUID();
    await hold(direct, key);
    const waiter = faulty.store.acquire(requestFor(key, { waitMs: 60_000 }));
    await eventually(async () => expect((await direct.inspect(key)).waiters).toBe(1));
    proxy.blackhole();
    await expect(waiter).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
  });
});

describe('credentials that ZooKeeper refuses', () => {
  it('are an outage that is reported, and not a loop', async () => {
    const incidents: string[] = [];
    const sink = new Incidents();
    sink.subscribe(({ code }) => incidents.push(code));
    let opened = 0;
    const driver = zookeeperLockStore({
      connect: zookeeper.connectString,
      commandTimeout: COMMAND_MS,
      prepare: (client) => {
        opened += 1;
        client.addAuthInfo('nonsense', Buffer.from('x'));
      },
    });
    const store = await driver.useFactory(sink);
    const startedAt = monotonicMs();
    await expect(store.acquire(requestFor('k'))).rejects.toMatchObject({ outcome: 'not-applied' });
    expect(monotonicMs() - startedAt).toBeLessThan(COMMAND_MS * 2);
    expect(incidents).toContain('LOCK_SESSION_NOT_OPENED');
    expect(opened).toBeGreaterThan(1);
    expect(opened).toBeLessThan(12);
    await store.close();
  });
});

describe('a session that was given up', () => {
  it('leaves nothing behind once ZooKeeper has ended it too', { timeout: 30_000 }, async () => {
    const key = randomUUID();
    const held = await watchedHold(faulty.store, key);
    const look = await looker(zookeeper.connectString);
    proxy.blackhole();
    await eventually(() => expect(faulty.clients).toHaveLength(2), { timeoutMs: SESSION_MS * 2 });
    await proxy.heal();
    expect(held.losses).toHaveLength(1);
    expect(await faulty.store.release([held])).toEqual([{ status: 'not-held' }]);
    await eventually(async () => expect(await look.children(zookeeper.root)).not.toContain(key), { timeoutMs: 15_000 });
    look.close();
  });
});

describe('a network that loses every answer', () => {
  it('is a silent one, though it connects again and again', { timeout: 30_000 }, async () => {
    const held = await watchedHold(faulty.store, randomUUID());
    const lastHeardOf = monotonicMs();
    proxy.dropAfter(CONNECT_ANSWER_BYTES, 'toClient');
    const asking = eventually(
      async () => {
        await faulty.store.extend([{ ...held, ttlMs: 10_000 }]);
        expect(held.losses).toHaveLength(1);
      },
      { timeoutMs: SESSION_MS * 3 },
    );
    await asking;
    expect(held.losses[0]?.cause).toBe('backend');
    expect((held.losses[0]?.at ?? 0) - lastHeardOf).toBeLessThan(SESSION_MS);
  });
});

describe('a session that ZooKeeper ends', () => {
  it('costs its locks at once, all of them, and another one is opened', async () => {
    const [one, two] = [
      await watchedHold(faulty.store, randomUUID()),
      await watchedHold(faulty.store, randomUUID()),
    ] as const;
    const endedAt = monotonicMs();
    await endSession(faulty.clients[0]);
    await eventually(() => expect([...one.losses, ...two.losses]).toHaveLength(2), { timeoutMs: 1_000 });
    expect([...one.losses, ...two.losses].map(({ cause }) => cause)).toEqual(['session', 'session']);
    expect((one.losses[0]?.at ?? 0) - endedAt).toBeLessThan(SESSION_MS / 3);
    expect(await faulty.store.extend([{ ...one, ttlMs: 1_000 }])).toEqual([{ status: 'lost', cause: 'session' }]);
    expect(await faulty.store.release([one])).toEqual([{ status: 'not-held' }]);
    await hold(faulty.store, one.key);
    expect(faulty.clients).toHaveLength(2);
  });

  it('of the one before lets the next in, with a higher fence', async () => {
    const key = randomUUID();
    const before = await hold(faulty.store, key);
    const waiter = direct.acquire(requestFor(key, { waitMs: 20_000 }));
    await eventually(async () => expect((await direct.inspect(key)).waiters).toBe(1));
    await endSession(faulty.clients[0]);
    const grant = await waiter;
    expect(grant.status === 'granted' && grant.fence).toBeGreaterThan(before.fence);
  });

  it('in the middle of the queue wakes nobody wrongly', async () => {
    const key = randomUUID();
    const holder = await hold(direct, key);
    const middle = faulty.store.acquire(requestFor(key, { waitMs: 20_000 }));
    await eventually(async () => expect((await direct.inspect(key)).waiters).toBe(1));
    const last = direct.acquire(requestFor(key, { waitMs: 20_000 }));
    await eventually(async () => expect((await direct.inspect(key)).waiters).toBe(2));
    await endSession(faulty.clients[0]);
    // The one in the middle queues again with its next session, now behind the last.
    await eventually(() => expect(faulty.clients).toHaveLength(2));
    await eventually(async () => expect((await direct.inspect(key)).waiters).toBe(2));
    expect((await direct.inspect(key)).holders).toEqual([{ token: holder.token, remainingMs: undefined }]);
    await direct.release([holder]);
    const [next] = (await direct.inspect(key)).holders;
    expect(await last).toMatchObject({ status: 'granted' });
    await direct.release([{ key, token: next?.token ?? '', deadline: 0 }]);
    expect(await middle).toMatchObject({ status: 'granted' });
  });
});

describe('a connection', () => {
  it('that is cut and comes back within the session costs nothing', async () => {
    const key = randomUUID();
    const held = await watchedHold(faulty.store, key);
    const waiter = faulty.store.acquire(requestFor(key, { waitMs: 20_000 }));
    await eventually(async () => expect((await direct.inspect(key)).waiters).toBe(1));
    for (let n = 0; n < 3; n += 1) {
      proxy.cut();
      await eventually(async () => {
        expect((await faulty.store.extend([{ ...held, ttlMs: 1_000 }]))[0]).toMatchObject({ status: 'extended' });
      });
    }
    expect(held.losses).toEqual([]);
    expect(await faulty.store.release([held])).toEqual([{ status: 'released' }]);
    expect(await waiter).toMatchObject({ status: 'granted' });
    expect(faulty.clients).toHaveLength(1);
  });

  it.each([0, 7, 30])(
    'that loses the answer to a create after %i bytes leaves one node, and it is found',
    async (bytes) => {
      const key = randomUUID();
      await faulty.store.release([await hold(faulty.store, key)]); // the parent is there, so the create comes first
      proxy.dropAfter(bytes, 'toClient');
      const asked = hold(faulty.store, key);
      await eventually(() => expect(proxy.connections).toBe(0), { intervalMs: 1 });
      await proxy.heal();
      const held = await asked;
      const state = await direct.inspect(key);
      expect(state).toEqual({
        holders: [{ token: held.token, remainingMs: undefined }],
        fence: held.fence,
        waiters: 0,
      });
      expect(await faulty.store.release([held])).toEqual([{ status: 'released' }]);
    },
  );

  it('that loses the answer to a create finds its own node, not that of another session with the same token', async () => {
    const key = randomUUID();
    const held = await hold(direct, key);
    proxy.dropAfter(0, 'toClient');
    const asked = faulty.store.acquire(requestFor(key, { token: held.token, waitMs: 20_000 }));
    await eventually(() => expect(proxy.connections).toBe(0), { intervalMs: 1 });
    await proxy.heal();
    await eventually(async () => expect((await direct.inspect(key)).waiters).toBe(1));
    await direct.release([held]);
    const grant = await asked;
    expect(grant.status === 'granted' && grant.fence).toBeGreaterThan(held.fence);
    expect(await direct.inspect(key)).toMatchObject({ holders: [{ token: held.token }], waiters: 0 });
  });

  it('that loses the answer for good leaves a node only until it is back', async () => {
    const key = randomUUID();
    await faulty.store.release([await hold(faulty.store, key)]);
    proxy.dropAfter(0, 'toClient');
    const asked = requestFor(key);
    await expect(faulty.store.acquire(asked)).rejects.toMatchObject({ outcome: 'not-applied' });
    expect((await direct.inspect(key)).holders).toEqual([{ token: asked.token, remainingMs: undefined }]);
    await proxy.heal();
    await eventually(async () => expect((await direct.inspect(key)).holders).toEqual([]));
    await hold(direct, key);
  });

  it('that loses the answer to a release has released all the same', async () => {
    const key = randomUUID();
    const held = await hold(faulty.store, key);
    proxy.dropAfter(0, 'toClient');
    const released = faulty.store.release([{ ...held }]);
    await eventually(() => expect(proxy.connections).toBe(0), { intervalMs: 1 });
    await proxy.heal();
    expect(await released).toEqual([{ status: 'released' }]);
    await hold(direct, key);
  });

  it('over which a late release comes does not take the lock of a successor, with one node for all', async () => {
    const recipe = { recipe: 'ephemeral', root: `${zookeeper.root}/one` } as const;
    const [late, prompt] = [await open({ ...recipe, connect: `${proxy.host}:${proxy.port}` }), await open(recipe)];
    const held = await hold(late.store, 'k');
    proxy.blackhole({ direction: 'toClient' }); // it does not learn that an operator takes its lock away
    expect(await prompt.store.release([held])).toEqual([{ status: 'released' }]);
    const next = await hold(prompt.store, 'k');
    const released = late.store.release([held]);
    await prompt.store.extend([{ ...next, ttlMs: 1_000 }]); // as long as a release takes to get there
    await proxy.heal();
    expect(await released).toEqual([{ status: 'not-held' }]);
    expect((await prompt.store.inspect('k')).holders).toEqual([{ token: next.token, remainingMs: undefined }]);
    await Promise.all([late.store.close(), prompt.store.close()]);
  });

  it('that is slow delays, and nothing else', async () => {
    proxy.delay(30);
    const key = randomUUID();
    const held = await watchedHold(faulty.store, key);
    const until = monotonicMs() + SESSION_MS * 1.5;
    await eventually(() => expect(monotonicMs()).toBeGreaterThan(until));
    expect(held.losses).toEqual([]);
    expect(await faulty.store.extend([{ ...held, ttlMs: 1_000 }])).toMatchObject([{ status: 'extended' }]);
  });
});

describe('a server that restarts', () => {
  it('is used again, and what was held is held or known to be lost', { timeout: 40_000 }, async () => {
    const key = randomUUID();
    const held = await watchedHold(faulty.store, key);
    await zookeeper.server.kill();
    await expect(faulty.store.acquire(requestFor(key))).rejects.toMatchObject({ outcome: 'not-applied' });
    await zookeeper.server.restart();
    const [outcome] = await eventually(
      async () => {
        const outcomes = await faulty.store.extend([{ ...held, ttlMs: 1_000 }]);
        expect(outcomes[0]?.status).not.toBe('failed');
        return outcomes;
      },
      { timeoutMs: 10_000 },
    );
    if (outcome?.status === 'lost') expect(held.losses).toHaveLength(1);
    // Its own session, too, has to find the server again.
    else
      await eventually(async () => expect((await direct.inspect(key)).holders).toHaveLength(1), { timeoutMs: 10_000 });
    await eventually(() => hold(faulty.store, randomUUID()), { timeoutMs: 10_000 });
  });
});
