import { randomUUID } from 'node:crypto';
import type { AcquireRequest, Grant, LockStore } from '@lockstep/lock';
import type { RedisConnection } from '@lockstep/redis';
import { eventually } from '@lockstep/testing';
import { lockKey, storedLock } from './stored-lock.js';

export type Held = AcquireRequest & Grant;

export function wish(key: string, more: Partial<AcquireRequest> = {}): AcquireRequest {
  return { key, token: randomUUID(), ttlMs: 60_000, waitMs: 0, capacity: 1, fairness: 'fifo', ...more };
}

/** @throws unless the lock is granted */
export async function hold(store: LockStore, key: string, more: Partial<AcquireRequest> = {}): Promise<Held> {
  const request = wish(key, more);
  const outcome = await store.acquire(request);
  if (outcome.status === 'busy') throw new Error(`${key} is busy for ${outcome.remainingMs} ms`);
  return { ...request, ...outcome };
}

export interface Waiter {
  readonly token: string;
  /** Rejects when it ends as busy. */
  readonly held: Promise<Held>;
  abort(): void;
}

/** A waiter that the server knows of. */
export async function queued(
  { store, connection }: { readonly store: LockStore; readonly connection: RedisConnection },
  key: string,
  more: Partial<AcquireRequest> = {},
): Promise<Waiter> {
  const token = randomUUID();
  const controller = new AbortController();
  const held = hold(store, key, { token, waitMs: 30_000, signal: controller.signal, ...more });
  held.catch(() => undefined); // whoever wants to know awaits it
  await eventually(async () => {
    if (!(await queueOf(connection, key)).includes(token)) throw new Error('it is not in the queue yet');
  });
  return { token, held, abort: () => controller.abort(new Error('left')) };
}

/** Tokens in the order in which they will be served. */
export async function queueOf(connection: RedisConnection, key: string): Promise<string[]> {
  return (await recordsOf(connection, key)).map(({ token }) => token);
}

export async function recordsOf(
  connection: RedisConnection,
  key: string,
): Promise<Array<{ readonly token: string; readonly process: string }>> {
  const records = ((await storedLock(connection, key))?.queue ?? '').split(';').filter((record) => record !== '');
  return records.map((record) => {
    const [token = '', process = ''] = record.split(',');
    return { token, process };
  });
}

/** A waiter as a process would have left it: one that nobody hears of, unless its channel is subscribed. */
export interface ForgedWaiter {
  readonly token: string;
  readonly process: string;
  readonly capacity?: number;
  /** `b` for one that barges. */
  readonly manner?: 'f' | 'b';
}

/** Puts waiters into the queue of a lock behind those that are there; the lock itself stays as it is. */
export async function forgeWaiters(
  connection: RedisConnection,
  key: string,
  waiters: readonly ForgedWaiter[],
): Promise<void> {
  const value = String(await connection.command('test', 'get', lockKey(connection, key))).replace(/\|[^|]*$/, '');
  const now = Math.round(connection.serverTimeMs());
  const records = waiters.map(
    ({ token, process, capacity = 1, manner = 'f' }) =>
      `${token},${process},${now + 60_000},${capacity},${manner},60000,${now * 1_000};`,
  );
  await connection.command('test', 'set', lockKey(connection, key), `${value}${records.join('')}|`, 'KEEPTTL');
}

/** Listens on the channel of a process and does nothing, as a process that was stopped. Resolves to its end. */
export function listenAs(
  connection: RedisConnection,
  process: string,
  heard: string[] = [],
): Promise<() => Promise<void>> {
  return connection.subscribe(`${connection.namespace}:lock-push:${process}`, (message) => heard.push(message));
}
