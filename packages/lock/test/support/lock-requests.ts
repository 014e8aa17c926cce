import { randomUUID } from 'node:crypto';
import type { AcquireRequest, Grant, LockStore } from '@lockstep/lock';

export type Held = Grant & { readonly key: string; readonly token: string };

export function wish(request: Partial<AcquireRequest> = {}): AcquireRequest {
  const defaults = { ttlMs: 10_000, waitMs: 0, capacity: 1, fairness: 'fifo' } as const;
  return { key: randomUUID(), token: randomUUID(), ...defaults, ...request };
}

/** @throws unless the lock is granted */
export async function hold(store: LockStore, request: Partial<AcquireRequest> = {}): Promise<Held> {
  const asked = wish(request);
  const outcome = await store.acquire(asked);
  if (outcome.status === 'busy') throw new Error(`${asked.key} is busy`);
  return { ...outcome, key: asked.key, token: asked.token };
}
