import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { ConfigurationError } from '@lockstep/core';
import type { LockStore, StoreLoss } from '@lockstep/lock';
import { type ZooKeeperLockStoreOptions, zookeeperLockStore } from '@lockstep/lock/zookeeper';
import { eventually } from '@lockstep/testing';
import { useZooKeeper } from '@lockstep/testing/vitest';
import { afterEach, describe, expect, it } from 'vitest';
import { startLockApp } from './support/lock-app.js';
import { hold, looker, type OpenedZooKeeper, openZooKeeper, requestFor } from './support/zookeeper-store.js';

const zookeeper = useZooKeeper();
const opened: OpenedZooKeeper[] = [];

async function open(options: Partial<ZooKeeperLockStoreOptions> = {}): Promise<LockStore> {
  const store = await openZooKeeper({ connect: zookeeper.connectString, root: zookeeper.root, ...options });
  opened.push(store);
  return store.store;
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map(({ store }) => store.close()));
});

/** `PATH: number of sessions that watch it`, below the path. */
async function watched(below: string): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  let path = '';
  for (const line of (await zookeeper.server.ask('wchp')).split('\n')) {
    if (line.startsWith('/')) path = line;
    else if (line.startsWith('\t') && path.startsWith(below)) found.set(path, (found.get(path) ?? 0) + 1);
  }
  return found;
}

/** Functions that a client keeps for its watches. */
function listenersOf(client: unknown): number {
  const { connectionManager } = client as { connectionManager: { watcherManager: { dataWatchers: object } } };
  const emitters: EventEmitter[] = Object.values(connectionManager.watcherManager.dataWatchers);
  return emitters.reduce((sum, emitter) => sum + emitter.listenerCount('notification'), 0);
}

async function waitingFor(store: LockStore, key: string, count: number): Promise<void> {
  await eventually(async () => expect((await store.inspect(key)).waiters).toBe(count));
}

describe('those who wait', () => {
  it('watch only the one before them, so that a release wakes one', async () => {
    const root = `${zookeeper.root}/predecessor`;
    const stores = [await open({ root }), await open({ root }), await open({ root }), await open({ root })];
    const [first, ...others] = stores as [LockStore, ...LockStore[]];
    const holder = await hold(first, 'k');
    const waiters: Promise<unknown>[] = [];
    for (const [index, store] of others.entries()) {
      waiters.push(store.acquire(requestFor('k', { waitMs: 20_000 })));
      await waitingFor(first, 'k', index + 1);
    }
    // The holder watches its own node, everybody else the node before theirs.
    await eventually(async () => expect([...(await watched(root)).values()].sort()).toEqual([1, 1, 2]));
    await first.release([holder]);
    await waiters[0];
    expect((await first.inspect('k')).waiters).toBe(2);
    await Promise.all(others.map((store) => store.close()));
    await Promise.all(waiters);
  });

  it('and give up leave one watch of the store, however often they come', async () => {
    const root = `${zookeeper.root}/leak`;
    const holder = await open({ root });
    const impatient = await open({ root });
    const held = await hold(holder, 'k');
    for (let n = 0; n < 50; n += 1) {
      expect(await impatient.acquire(requestFor('k', { waitMs: 5 }))).toMatchObject({ status: 'busy' });
    }
    expect([...(await watched(root)).values()]).toEqual([2]); // of both stores on the holder's node
    expect(opened.at(-1)?.clients.map(listenersOf)).toEqual([1]);
    await holder.release([held]);
    await eventually(async () => expect((await watched(root)).size).toBe(0));
  });

  it('with an abort signal have their node removed when it aborts', async () => {
    const store = await open();
    const key = randomUUID();
    const held = await hold(store, key);
    const controller = new AbortController();
    const waiter = store.acquire(requestFor(key, { waitMs: 20_000, signal: controller.signal }));
    await waitingFor(store, key, 1);
    controller.abort(new Error('the client left'));
    await expect(waiter).rejects.toThrow('the client left');
    await waitingFor(store, key, 0);
    expect((await store.inspect(key)).holders).toHaveLength(1);
    await store.release([held]);
  });

  it('for one of many permits are woken by whichever comes back', async () => {
    const store = await open();
    for (const back of [0, 1, 2]) {
      const key = randomUUID();
      const permit = { capacity: 3 };
      const held = [await hold(store, key, permit), await hold(store, key, permit), await hold(store, key, permit)];
      const waiter = store.acquire(requestFor(key, { ...permit, waitMs: 20_000 }));
      await waitingFor(store, key, 1);
      await store.release(held.slice(back, back + 1));
      expect(await waiter).toMatchObject({ status: 'granted' });
    }
  });
});

describe('what lies in ZooKeeper', () => {
  it('is nothing, once a thousand keys have been locked and released', { timeout: 60_000 }, async () => {
    const root = `${zookeeper.root}/keys`;
    const look = await looker(zookeeper.connectString);
    const store = await open({ root, commandTimeout: '10s' });
    for (let batch = 0; batch < 10; batch += 1) {
      const keys = Array.from({ length: 100 }, (_, n) => `key:${batch}:${n}`);
      const held = await Promise.all(keys.map((key) => hold(store, key)));
      const outcomes = await store.release(held);
      expect(outcomes.every(({ status }) => status === 'released')).toBe(true);
    }
    await eventually(async () => expect(await look.children(root)).toEqual([]), { timeoutMs: 10_000 });
    look.close();
  });

  it('is nothing after close either', async () => {
    const root = `${zookeeper.root}/closing`;
    const look = await looker(zookeeper.connectString);
    const store = await open({ root });
    await store.release([await hold(store, 'a'), await hold(store, 'b')]);
    await store.close();
    expect(await look.children(root)).toEqual([]);
    look.close();
  });

  it('is made anew when another process has removed it while it was empty', async () => {
    const [one, other] = [await open(), await open()];
    const key = randomUUID();
    await one.release([await hold(one, key)]);
    await other.release([await hold(other, key)]);
    await other.close();
    expect((await one.inspect(key)).holders).toEqual([]);
    await one.release([await hold(one, key)]);
  });

  it('is free at once when the store that held it is closed', async () => {
    const [holder, waiting] = [await open(), await open()];
    const key = randomUUID();
    const losses: StoreLoss[] = [];
    const { fence } = await hold(holder, key, { onLost: (cause) => losses.push(cause) });
    const waiter = waiting.acquire(requestFor(key, { waitMs: 20_000 }));
    await waitingFor(waiting, key, 1);
    await holder.close();
    const grant = await waiter;
    expect(grant.status === 'granted' && grant.fence).toBeGreaterThan(fence);
    expect(losses).toEqual([]);
  });

  it('keeps keys apart that are long, or differ in dots, slashes and case only', async () => {
    const store = await open();
    const long = 'x'.repeat(500);
    const keys = ['.', '..', '/', '//', 'a/b', 'a.b', 'A.b', 'a%2eb', `${long}a`, `${long}b`, '\u{d800}', '\u{d801}'];
    const held = await Promise.all(keys.map((key) => hold(store, key)));
    for (const key of keys) expect(await store.acquire(requestFor(key))).toMatchObject({ status: 'busy' });
    await store.release(held);
  });
});

describe('the recipe of one node', () => {
  it('does not take the lock of a successor when a release is repeated', async () => {
    const store = await open({ recipe: 'ephemeral', root: `${zookeeper.root}/one` });
    const rival = await open({ recipe: 'ephemeral', root: `${zookeeper.root}/one` });
    const first = await hold(store, 'k');
    await store.release([first]);
    const next = await hold(rival, 'k');
    expect(await store.release([first])).toEqual([{ status: 'not-held' }]);
    expect((await store.inspect('k')).holders).toEqual([{ token: next.token, remainingMs: undefined }]);
  });
});

describe('an application', () => {
  it('has its locks in ZooKeeper, and gives them back at its end', async () => {
    const store = zookeeperLockStore({ connect: zookeeper.connectString, root: `${zookeeper.root}/app` });
    const running = await startLockApp({ ttl: '5s', wait: '5s' }, store);
    const other = await startLockApp({ ttl: '5s', wait: '10s' }, store);
    const lease = await running.locks.acquire('sku:42');
    expect(lease.isHeld()).toBe(true);
    expect(await other.locks.tryAcquire('sku:42')).toBeUndefined();
    const waiter = other.locks.acquire('sku:42');
    await running.app.close();
    expect((await waiter).fence).toBeGreaterThan(lease.fence);
    expect(other.codes).toEqual([]);
    await other.app.close();
  });
});

describe('zookeeperLockStore()', () => {
  it.each([
    [{ connect: 'here' }, "Option 'connect' is 'here'"],
    [{ connect: 'a:1/chroot' }, "Option 'connect' is 'a:1/chroot'"],
    [{ connect: 'a:1', root: 'locks' }, "Option 'root' is 'locks'"],
    [{ connect: 'a:1', sessionTimeout: 1 }, "Option 'sessionTimeout' is 1"],
  ])('refuses %j at boot, naming the option', (options, message) => {
    expect(() => zookeeperLockStore(options)).toThrow(ConfigurationError);
    expect(() => zookeeperLockStore(options)).toThrow(message);
  });
});
