import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { type ChildHandle, spawnNode } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hold, wish } from './support/lock-requests.js';
import { type OpenedPostgres, openPostgres } from './support/postgres-store.js';

/** A session speaks for leases of up to 10 s; the server gives it one second more. */
const LONGEST_SILENCE_MS = 11_000;
const postgres = usePostgres();
const script = new URL('./support/postgres-holder.mjs', import.meta.url);
let near: OpenedPostgres;

beforeAll(async () => {
  near = await openPostgres(postgres.url);
});
afterAll(() => near.app.close());

async function holder(key: string): Promise<{ child: ChildHandle; fence: bigint }> {
  const child = spawnNode(script, { env: { POSTGRES_URL: postgres.url } });
  await child.waitForMessage((message) => has(message, 'ready'));
  child.send({ ask: 'acquire', key });
  const { acquired } = (await child.waitForMessage((message) => has(message, 'acquired'))) as { acquired: string };
  return { child, fence: BigInt(acquired) };
}

function has(message: unknown, field: string): boolean {
  return typeof message === 'object' && message !== null && field in message;
}

describe('a process that holds a lock of Postgres', () => {
  it('frees it at once when it is killed', async () => {
    const key = randomUUID();
    const { child, fence } = await holder(key);
    const waiter = hold(near.store, { key, waitMs: 20_000 });
    await child.sigkill();
    const killedAt = monotonicMs();
    expect((await waiter).fence).toBeGreaterThan(fence);
    expect(monotonicMs() - killedAt).toBeLessThan(2_000);
  });

  it('loses it when it stands still for longer than the leases of its session, and knows that when it goes on', async () => {
    const key = randomUUID();
    const { child, fence } = await holder(key);
    const session = Reflect.get(near.store, 'sessions').current;
    child.sigstop();
    const stoppedAt = monotonicMs();
    const successor = await hold(near.store, { key, waitMs: 30_000 });
    expect(successor.fence).toBeGreaterThan(fence);
    expect(monotonicMs() - stoppedAt).toBeLessThan(LONGEST_SILENCE_MS + 2_000);
    child.send({ ask: 'state' });
    child.sigcont();
    expect(await child.waitForMessage((message) => has(message, 'held'))).toEqual({ held: false, aborted: true });
    child.send({ ask: 'release' });
    await child.waitForMessage((message) => has(message, 'released'));
    expect(await near.store.acquire(wish({ key }))).toMatchObject({ status: 'busy' });
    expect(child.unhandledRejections).toEqual([]);
    await child.sigkill();
    // It had nothing to do meanwhile, and is there all the same.
    expect(Reflect.get(near.store, 'sessions').current).toBe(session);
    expect(near.codes).toEqual([]);
  });
});
