import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { zookeeperLockStore } from '@lockstep/lock/zookeeper';
import { type ChildHandle, spawnNode } from '@lockstep/testing';
import { useZooKeeper } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';

const SESSION_MS = 2_000;
/** ZooKeeper looks for ended sessions once in this time, and rounds their ends up to it. */
const TICK_MS = 500;
const zookeeper = useZooKeeper({ tickTime: TICK_MS });
const script = new URL('./support/zookeeper-holder.mjs', import.meta.url);

async function holder(key: string): Promise<{ child: ChildHandle; fence: bigint }> {
  const { connectString: ZOOKEEPER, root: ROOT } = zookeeper;
  const child = spawnNode(script, { env: { ZOOKEEPER, ROOT, SESSION_MS: String(SESSION_MS), KEY: key } });
  const message = (await child.waitForMessage((each) => has(each, 'fence'))) as { fence: string };
  return { child, fence: BigInt(message.fence) };
}

function has(message: unknown, field: string): boolean {
  return typeof message === 'object' && message !== null && field in message;
}

describe('a process that holds a lock on ZooKeeper', { timeout: 40_000 }, () => {
  let running: LockApp;
  beforeAll(async () => {
    const { connectString: connect, root } = zookeeper;
    running = await startLockApp({ wait: '20s' }, zookeeperLockStore({ connect, root, sessionTimeout: SESSION_MS }));
  });
  afterAll(() => running.app.close());

  it('that is killed frees it with the end of its session', async () => {
    const key = randomUUID();
    const { child, fence } = await holder(key);
    expect(await running.locks.tryAcquire(key)).toBeUndefined();
    const waiter = running.locks.acquire(key);
    await child.sigkill();
    const killedAt = monotonicMs();
    const lease = await waiter;
    expect(monotonicMs() - killedAt).toBeLessThan(SESSION_MS + 4 * TICK_MS);
    expect(lease.fence).toBeGreaterThan(fence);
    await lease.release();
  });

  it('that was stopped beyond its session knows so before it does anything else', async () => {
    const key = randomUUID();
    const { child, fence } = await holder(key);
    child.sigstop();
    const successor = await running.locks.acquire(key);
    expect(successor.fence).toBeGreaterThan(fence);
    child.send({ ask: 'state' });
    child.sigcont();
    expect(await child.waitForMessage((each) => has(each, 'held'))).toEqual({ held: false, aborted: true });
    expect(successor.isHeld()).toBe(true);
    expect(child.unhandledRejections).toEqual([]);
    await successor.release();
    await child.sigkill();
  });

  it('that is told to end hands it over at once', async () => {
    const key = randomUUID();
    const { child } = await holder(key);
    const waiter = running.locks.acquire(key);
    const toldAt = monotonicMs();
    child.sigterm();
    const lease = await waiter;
    expect(monotonicMs() - toldAt).toBeLessThan(SESSION_MS / 2);
    await lease.release();
    await child.exited;
    expect(child.unhandledRejections).toEqual([]);
  });
});
