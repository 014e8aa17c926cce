import type { LeaseExpiryPolicy, Resolution } from '../../idempotency-store.js';

type State = 'issued' | 'running' | 'completed' | 'released' | 'uncertain';

/** What earlier claims of a running operation may have left: nothing, what a release left open, what a crash did. */
type Past = 'none' | 'released' | 'vanished';

export interface OperationRecord {
  state: State;
  /** Undefined before the first begin, and once the operation was released as not applied. */
  fingerprint: string | undefined;
  owner: string;
  operation: string;
  fence: bigint;
  leaseEndsAt: number;
  policy: LeaseExpiryPolicy;
  /** As it was begun with. */
  retentionMs: number;
  response: string;
  past: Past;
  sinceAt: number;
  readonly steps: Map<string, string>;
  /** Infinity while only an owner or an operator may end it. */
  expiresAt: number;
}

/** The records by id, those past their end dropped when they are met or purged, and how their state changes. */
export class OperationRecords {
  private readonly records = new Map<string, OperationRecord>();
  private lastFence = 0n;

  constructor(readonly nowMs: () => number) {}

  get size(): number {
    return this.records.size;
  }

  *[Symbol.iterator](): Iterator<[string, OperationRecord]> {
    yield* this.records;
  }

  find(id: string): OperationRecord | undefined {
    const record = this.records.get(id);
    if (!record || record.expiresAt > this.nowMs()) return record;
    this.records.delete(id);
    return undefined;
  }

  put(id: string, record: OperationRecord): void {
    this.records.set(id, record);
  }

  purge(): void {
    const nowMs = this.nowMs();
    for (const [id, { expiresAt }] of this.records) if (expiresAt <= nowMs) this.records.delete(id);
  }

  /** Rises over deletion too, because the store itself remembers the last one. */
  nextFence(): bigint {
    const clock = BigInt(Math.trunc(this.nowMs() * 1_000));
    this.lastFence = clock > this.lastFence ? clock : this.lastFence + 1n;
    return this.lastFence;
  }

  run(record: OperationRecord, { leaseMs, retentionMs }: { leaseMs: number; retentionMs: number }): void {
    record.state = 'running';
    record.leaseEndsAt = this.nowMs() + leaseMs;
    record.expiresAt = record.policy === 'retry' ? record.leaseEndsAt + retentionMs : Number.POSITIVE_INFINITY;
  }

  close(record: OperationRecord, end: Resolution, forget: boolean): void {
    record.state = end.to;
    record.expiresAt = this.nowMs() + end.retentionMs;
    if (end.to === 'completed') record.response = end.response;
    else if (forget) record.fingerprint = undefined;
    if (end.to === 'completed' || forget) record.steps.clear();
  }

  markUncertain(record: OperationRecord): void {
    if (record.state !== 'uncertain') record.sinceAt = this.nowMs();
    record.state = 'uncertain';
    record.expiresAt = Number.POSITIVE_INFINITY;
  }

  isAbandoned(record: OperationRecord): boolean {
    return record.state === 'running' && record.policy === 'uncertain' && record.leaseEndsAt <= this.nowMs();
  }
}

export function isOpen({ state }: OperationRecord): boolean {
  return state === 'running' || state === 'uncertain';
}

/** What the next owner inherits. */
export function pastOf(before: OperationRecord | undefined): Past {
  if (!before) return 'none';
  if (before.state === 'running') return 'vanished';
  return before.past === 'none' && before.fingerprint !== undefined ? 'released' : before.past;
}

/** A record that was never begun. */
export function blankRecord(): OperationRecord {
  return {
    state: 'issued',
    fingerprint: undefined,
    owner: '',
    operation: '',
    fence: 0n,
    leaseEndsAt: 0,
    policy: 'uncertain',
    retentionMs: 0,
    response: '',
    past: 'none',
    sinceAt: 0,
    steps: new Map(),
    expiresAt: 0,
  };
}
