import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import type { AcquireRequest, Grant } from '@lockstep/lock';
import { eventually, type RedisServer } from '@lockstep/testing';
import { expect } from 'vitest';
import type { OpenedRedlock } from './redlock-servers.js';

/** Per node the stored vote, `token|round|fence|w`, or undefined; the layout as the README states it. */
export async function votesAt(opened: OpenedRedlock, key: string): Promise<(string | undefined)[]> {
  return Promise.all(
    opened.store.nodes.map(async ({ connection }) => {
      const value = await connection.command('test', 'get', `${connection.namespace}:redlock:{${key}}`);
      return typeof value === 'string' ? value : undefined;
    }),
  );
}

/** Which nodes vote for the token. */
export async function votersOf(opened: OpenedRedlock, key: string, token: string): Promise<number[]> {
  const votes = await votesAt(opened, key);
  return votes.flatMap((vote, index) => (vote?.startsWith(`${token}|`) ? [index] : []));
}

/** Puts a vote there as another process would have. */
export async function plantVote(opened: OpenedRedlock, index: number, key: string, token: string): Promise<void> {
  const connection = opened.store.nodes[index]?.connection;
  await connection?.command('test', 'set', `${connection.namespace}:redlock:{${key}}`, `${token}|1||`, 'PX', 30_000);
}

export function wish(more: Partial<AcquireRequest> = {}): AcquireRequest {
  const token = randomUUID();
  return { key: randomUUID(), token, ttlMs: 30_000, waitMs: 0, capacity: 1, fairness: 'fifo', ...more };
}

/** @throws unless the lock is granted */
export async function hold(
  opened: OpenedRedlock,
  more: Partial<AcquireRequest> = {},
): Promise<AcquireRequest & Grant<bigint | undefined>> {
  const request = wish(more);
  const grant = await opened.store.acquire(request);
  if (grant.status === 'busy') throw new Error(`${request.key} is busy`);
  return { ...request, ...grant };
}

export async function pass(ms: number): Promise<void> {
  const until = monotonicMs() + ms;
  await eventually(() => expect(monotonicMs()).toBeGreaterThan(until), { timeoutMs: ms + 5_000 });
}

/** Everything is up, and every connection of the store is usable. */
export async function recovered(servers: readonly RedisServer[], opened: OpenedRedlock): Promise<void> {
  for (const server of servers) {
    server.resume();
    if (!server.isRunning) await server.restart();
  }
  await eventually(() => Promise.all(opened.store.nodes.map(({ connection }) => connection.command('test', 'ping'))));
}
