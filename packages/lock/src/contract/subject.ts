import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { expect, it, vi } from 'vitest';
import type { AcquireRequest, Busy, Grant, LockState, LockStore, StoreAbilities } from '../lock-store.js';

type AnyLockStore = LockStore<bigint | undefined>;
type AnyGrant = Grant<bigint | undefined>;

export interface LockStoreHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens stores on one backend: two where several processes can share it, else the same one twice. */
  open(): Promise<{ readonly store: AnyLockStore; readonly rival: AnyLockStore; close?(): Promise<void> }>;
  /** What the store says of itself; facts that it does not claim are reported as skipped. */
  readonly abilities: StoreAbilities;
  /**
   * Whether its fences rise, or are `undefined`.
   * @default true
   */
  readonly fences?: boolean;
  /**
   * How long a short lease is; longer for a backend whose own times are.
   * @default 400
   */
  readonly leaseMs?: number;
  /**
   * How `inspect` names a holder to another process: by the token of its request, or by the session that carries the
   * lock.
   * @default 'requests'
   */
  readonly holders?: 'requests' | 'sessions';
  /**
   * Delays whatever passes between the stores and the backend by so much, each way, until the returned function is
   * called. For stores whose leases last `ttl`; without it the anchor of deadlines is not shown.
   */
  delayWire?(ms: number): Promise<() => Promise<void>>;
}

export const LONG_MS = 30_000;
/** How facts wait for what only time brings about. */
export const POLL = { timeout: 5_000, interval: 20 };

export type Fact = (name: string, test: () => Promise<void>) => void;

/** `it`, or the same fact as a skipped one that says why. */
export function factIf(isClaimed: boolean, reason: string): Fact {
  if (isClaimed) return (name, test) => it(name, test);
  return (name) => it.skip(`${name} [skipped: ${reason}]`, () => undefined);
}

export function fenceOf({ fence }: AnyGrant): bigint {
  if (fence === undefined) throw new Error('there is no fence');
  return fence;
}

export type Held = AnyGrant & { readonly key: string; readonly token: string };

/** The stores under test, with short ways to say what is done to them. */
export class Subject {
  readonly leaseMs: number;
  private opened: Awaited<ReturnType<LockStoreHarness['open']>> | undefined;

  constructor(private readonly harness: LockStoreHarness) {
    this.leaseMs = harness.leaseMs ?? 400;
  }

  async open(): Promise<void> {
    this.opened = await this.harness.open();
  }

  async close(): Promise<void> {
    if (!this.opened) return;
    // First whoever waits: a lock that ends with the session of its holder would be granted to it.
    await this.opened.rival.close();
    await this.opened.store.close();
    await this.opened.close?.();
    this.opened = undefined;
  }

  get store(): AnyLockStore {
    return this.side(false);
  }

  key(): string {
    return `contract:${randomUUID()}`;
  }

  ask(key: string, request: Partial<AcquireRequest> = {}, asRival = false): Promise<AnyGrant | Busy> {
    return this.side(asRival).acquire(this.request(key, request));
  }

  async prefix(keys: readonly string[]): Promise<readonly (AnyGrant | Busy)[] | undefined> {
    return this.store.acquirePrefix?.(keys.map((key) => this.request(key, { ttlMs: LONG_MS })));
  }

  inspect(key: string, asRival = false): Promise<LockState> {
    return this.side(asRival).inspect(key);
  }

  /** @throws unless the lock is granted */
  async hold(request: Partial<AcquireRequest> = {}, asRival = false): Promise<Held> {
    const { key = this.key(), token = randomUUID() } = request;
    const outcome = await this.ask(key, { ...request, token }, asRival);
    if (outcome.status === 'busy') throw new Error(`${key} is busy for ${outcome.remainingMs} ms`);
    return { ...outcome, key, token };
  }

  async extend(held: Held, ttlMs: number): Promise<unknown> {
    const [outcome] = await this.store.extend([{ key: held.key, token: held.token, ttlMs }]);
    return outcome;
  }

  async release(held: Held, asRival = false): Promise<unknown> {
    const [outcome] = await this.side(asRival).release([held]);
    return outcome;
  }

  /** Lets a request get as far as it can on its own; fails when it is answered already. */
  async settle(request: Promise<unknown>): Promise<void> {
    let isAnswered = false;
    const note = (): void => {
      isAnswered = true;
    };
    request.then(note, note);
    const until = monotonicMs() + 100;
    await vi.waitFor(() => expect(monotonicMs()).toBeGreaterThan(until), POLL);
    expect(isAnswered).toBe(false);
  }

  private request(key: string, request: Partial<AcquireRequest>): AcquireRequest {
    const defaults = {
      token: randomUUID(),
      ttlMs: this.leaseMs * 5,
      waitMs: 0,
      capacity: 1,
      fairness: 'fifo',
    } as const;
    return { ...defaults, ...request, key };
  }

  private side(asRival: boolean): AnyLockStore {
    if (!this.opened) throw new Error('the store is not open');
    return asRival ? this.opened.rival : this.opened.store;
  }
}
