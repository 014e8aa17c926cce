import { randomBytes } from 'node:crypto';
import { vi } from 'vitest';
import type { BeginOutcome, BeginRequest, Claim, IdempotencyStore, Settlement } from '../idempotency-store.js';

export interface IdempotencyStoreHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens a store that no other test uses; called once. */
  open(): Promise<{ readonly store: IdempotencyStore; close?(): Promise<void> }>;
}

export const LONG_MS = 60_000;
/** How facts wait for what only time brings about. */
export const POLL = { timeout: 5_000, interval: 25 };

export function completed(response: string): Settlement {
  return { to: 'completed', response, retentionMs: LONG_MS };
}

export function released(notApplied: boolean): Settlement {
  return { to: 'released', notApplied, retentionMs: LONG_MS };
}

export interface Acquired {
  readonly id: string;
  readonly request: BeginRequest;
  readonly claim: Claim;
  readonly fence: bigint;
}

/** The store under test, and shorthands for what the facts need. */
export class ContractSubject {
  private opened: { readonly store: IdempotencyStore; close?(): Promise<void> } | undefined;

  get store(): IdempotencyStore {
    if (!this.opened) throw new Error('The store is open from beforeAll on');
    return this.opened.store;
  }

  async open(harness: IdempotencyStoreHarness): Promise<void> {
    this.opened = await harness.open();
  }

  async close(): Promise<void> {
    await this.opened?.close?.();
  }

  id(): string {
    return randomBytes(32).toString('base64url');
  }

  request(change: Partial<BeginRequest>): BeginRequest {
    return {
      id: this.id(),
      fingerprint: 'fp',
      owner: this.id(),
      operation: 'POST /orders',
      leaseMs: LONG_MS,
      retentionMs: LONG_MS,
      onLeaseExpiry: 'uncertain',
      applyWithinMs: LONG_MS,
      ...change,
    };
  }

  begin(change: Partial<BeginRequest>): Promise<BeginOutcome> {
    return this.store.begin(this.request(change));
  }

  async acquired(change: Partial<BeginRequest> = {}): Promise<Acquired> {
    const request = this.request(change);
    const outcome = await this.store.begin(request);
    if (outcome.outcome !== 'acquired') throw new Error(`expected to acquire, got ${outcome.outcome}`);
    return { id: request.id, request, claim: { id: request.id, owner: request.owner }, fence: outcome.fence };
  }

  async takenOver(id: string): Promise<Acquired> {
    return vi.waitFor(() => this.acquired({ id }), POLL);
  }

  storm(id: string, callers: number, change: Partial<BeginRequest>): Promise<BeginOutcome[]> {
    return Promise.all(Array.from({ length: callers }, () => this.begin({ ...change, id })));
  }

  async uncertainIds(): Promise<string[]> {
    return (await this.store.listUncertain(1_000)).map(({ id }) => id);
  }
}
