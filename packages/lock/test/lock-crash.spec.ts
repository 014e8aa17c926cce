import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { LockService } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { type ChildHandle, eventually, spawnNode } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LockApp, startLockApp } from './support/lock-app.js';
import { ownerOf } from './support/stored-lock.js';

const TTL_MS = 600;
const server = useRedis();
const script = new URL('./support/crash-holder.mjs', import.meta.url);

async function holder(key: string): Promise<{ child: ChildHandle; fence: bigint }> {
  const env = { REDIS_URL: server.url, NAMESPACE: server.prefix, TTL_MS: String(TTL_MS) };
  const child = spawnNode(script, { env });
  await child.waitForMessage((message) => has(message, 'ready'));
  child.send({ ask: 'acquire', key });
  const { acquired } = (await child.waitForMessage((message) => has(message, 'acquired'))) as { acquired: string };
  return { child, fence: BigInt(acquired) };
}

function has(message: unknown, field: string): boolean {
  return typeof message === 'object' && message !== null && field in message;
}

describe('a process that holds a lock', () => {
  let running: LockApp;
  let locks: LockService;
  beforeAll(async () => {
    const redis = RedisModule.forRoot({ url: server.url, namespace: server.prefix });
    running = await startLockApp({ ttl: TTL_MS, wait: '10s' }, redisLockStore(), [redis]);
    locks = running.locks;
  });
  afterAll(() => running.app.close());

  it('keeps it while it lives, and frees it within one lease when it is killed', async () => {
    const key = randomUUID();
    const { child, fence } = await holder(key);
    const until = monotonicMs() + TTL_MS * 2;
    await eventually(() => expect(monotonicMs()).toBeGreaterThan(until));
    expect(await locks.tryAcquire(key)).toBeUndefined();
    const waiter = locks.acquire(key);
    await child.sigkill();
    const killedAt = monotonicMs();
    const lease = await waiter;
    expect(monotonicMs() - killedAt).toBeLessThan(TTL_MS * 2);
    expect(lease.fence).toBeGreaterThan(fence);
    await lease.release();
  });

  it('knows that it lost it when it was stopped past its lease, and cannot touch its successor', async () => {
    const key = randomUUID();
    const { child, fence } = await holder(key);
    child.sigstop();
    const successor = await locks.acquire(key);
    expect(successor.fence).toBeGreaterThan(fence);
    child.send({ ask: 'state' });
    child.sigcont();
    expect(await child.waitForMessage((message) => has(message, 'held'))).toEqual({ held: false, aborted: true });
    child.send({ ask: 'release' });
    await child.waitForMessage((message) => has(message, 'released'));
    expect(successor.isHeld()).toBe(true);
    expect(await ownerOf(running.app.get(RedisConnection), key)).toBe(successor.token);
    expect(child.unhandledRejections).toEqual([]);
    await successor.release();
    await child.sigkill();
  });

  it('hands it over at once when it is told to end', async () => {
    const key = randomUUID();
    const { child } = await holder(key);
    const waiter = locks.acquire(key, { ttl: '60s' });
    child.sigterm();
    const lease = await waiter;
    expect(lease.isHeld()).toBe(true);
    await lease.release();
    await child.exited;
    expect(child.unhandledRejections).toEqual([]);
  });
});
