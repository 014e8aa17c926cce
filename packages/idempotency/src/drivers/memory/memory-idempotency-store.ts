import type {
  BeginOutcome,
  BeginRequest,
  Claim,
  IdempotencyStore,
  LeaseExpiryPolicy,
  Renewal,
  RenewalOutcome,
  Resolution,
  Settlement,
  UncertainOperation,
} from '../../idempotency-store.js';

type State = 'running' | 'completed' | 'released' | 'uncertain';

/** What earlier claims of a running operation may have left: nothing, what a release left open, what a crash did. */
type Past = 'none' | 'released' | 'vanished';

interface StoredOperation {
  state: State;
  /** Undefined once the operation was released as not applied. */
  fingerprint: string | undefined;
  owner: string;
  operation: string;
  fence: bigint;
  leaseEndsAt: number;
  policy: LeaseExpiryPolicy;
  response: string;
  past: Past;
  sinceAt: number;
  /** Infinity while only an owner or an operator may end it. */
  expiresAt: number;
}

export interface MemoryIdempotencyStoreOptions {
  /** Clock in epoch milliseconds. @default a clock of this process that never steps */
  readonly nowMs?: () => number;
}

const PURGE_EVERY_BEGINS = 256;

/**
 * The records in the memory of this process: right for one process and for tests, gone with a restart. Records past
 * their end are dropped on every 256th begin and on each sweep, so that memory follows the traffic within retention.
 */
export class MemoryIdempotencyStore implements IdempotencyStore {
  private readonly records = new Map<string, StoredOperation>();
  private readonly nowMs: () => number;
  private lastFence = 0n;
  private begins = 0;

  constructor(options: MemoryIdempotencyStoreOptions = {}) {
    this.nowMs = options.nowMs ?? (() => performance.timeOrigin + performance.now());
  }

  /** How many records there are, those past their end included. */
  get size(): number {
    return this.records.size;
  }

  async begin(request: BeginRequest): Promise<BeginOutcome> {
    this.begins += 1;
    if (this.begins % PURGE_EVERY_BEGINS === 0) this.purge();
    const record = this.find(request.id);
    if (!record) return this.claim(request, undefined);
    if (record.fingerprint !== undefined && record.fingerprint !== request.fingerprint) return { outcome: 'mismatch' };
    if (record.state === 'completed') return { outcome: 'completed', response: record.response };
    const own = record.owner === request.owner;
    if (record.state === 'released') return own ? { outcome: 'late' } : this.claim(request, record);
    if (own) return this.beginAgain(request, record);
    return this.meet(request, record);
  }

  async renew(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]> {
    return items.map((item) => {
      const record = this.owned(item);
      if (!record || !isOpen(record)) return 'lost';
      this.extend(record, item);
      return 'renewed';
    });
  }

  async settle(claim: Claim, settlement: Settlement): Promise<boolean> {
    const record = this.owned(claim);
    if (!record) return false;
    if (!isOpen(record)) return record.state === settlement.to;
    if (settlement.to === 'uncertain') this.markUncertain(record);
    else
      this.close(record, settlement, settlement.to === 'released' && settlement.notApplied && record.past === 'none');
    return true;
  }

  async sweep(limit: number): Promise<number> {
    this.purge();
    let marked = 0;
    for (const record of this.records.values()) {
      if (marked === limit) break;
      if (!this.isAbandoned(record)) continue;
      this.markUncertain(record);
      marked += 1;
    }
    return marked;
  }

  async listUncertain(limit: number): Promise<readonly UncertainOperation[]> {
    return [...this.records]
      .filter(([, { state }]) => state === 'uncertain')
      .map(([id, { operation, sinceAt }]) => ({ id, operation, sinceAt }))
      .sort((a, b) => a.sinceAt - b.sinceAt)
      .slice(0, limit);
  }

  async resolve(id: string, resolution: Resolution): Promise<boolean> {
    const record = this.find(id);
    if (record?.state !== 'uncertain') return false;
    this.close(record, resolution, true);
    // Its owner may still be alive, but the operator has had the last word.
    record.owner = '';
    record.past = 'none';
    return true;
  }

  private meet(request: BeginRequest, record: StoredOperation): BeginOutcome {
    if (record.state === 'uncertain') return { outcome: 'uncertain' };
    const leftMs = record.leaseEndsAt - this.nowMs();
    if (leftMs > 0) return { outcome: 'busy', retryAfterMs: leftMs };
    if (record.policy === 'retry') return this.claim(request, record);
    this.markUncertain(record);
    return { outcome: 'uncertain' };
  }

  private beginAgain(request: BeginRequest, record: StoredOperation): BeginOutcome {
    this.extend(record, request);
    return acquired(record);
  }

  private claim(request: BeginRequest, before: StoredOperation | undefined): BeginOutcome {
    const record: StoredOperation = {
      state: 'running',
      fingerprint: request.fingerprint,
      owner: request.owner,
      operation: request.operation,
      fence: this.nextFence(),
      leaseEndsAt: 0,
      policy: request.onLeaseExpiry,
      response: '',
      past: pastOf(before),
      sinceAt: 0,
      expiresAt: 0,
    };
    this.extend(record, request);
    this.records.set(request.id, record);
    return acquired(record);
  }

  private extend(record: StoredOperation, { leaseMs, retentionMs }: { leaseMs: number; retentionMs: number }): void {
    record.state = 'running';
    record.leaseEndsAt = this.nowMs() + leaseMs;
    record.expiresAt = record.policy === 'retry' ? record.leaseEndsAt + retentionMs : Number.POSITIVE_INFINITY;
  }

  private close(record: StoredOperation, end: Resolution, forget: boolean): void {
    record.state = end.to;
    record.expiresAt = this.nowMs() + end.retentionMs;
    if (end.to === 'completed') record.response = end.response;
    else if (forget) record.fingerprint = undefined;
  }

  private markUncertain(record: StoredOperation): void {
    if (record.state !== 'uncertain') record.sinceAt = this.nowMs();
    record.state = 'uncertain';
    record.expiresAt = Number.POSITIVE_INFINITY;
  }

  private isAbandoned(record: StoredOperation): boolean {
    return record.state === 'running' && record.policy === 'uncertain' && record.leaseEndsAt <= this.nowMs();
  }

  private owned({ id, owner }: Claim): StoredOperation | undefined {
    const record = this.find(id);
    return record?.owner === owner ? record : undefined;
  }

  private find(id: string): StoredOperation | undefined {
    const record = this.records.get(id);
    if (!record || record.expiresAt > this.nowMs()) return record;
    this.records.delete(id);
    return undefined;
  }

  private purge(): void {
    const nowMs = this.nowMs();
    for (const [id, { expiresAt }] of this.records) if (expiresAt <= nowMs) this.records.delete(id);
  }

  /** Rises over deletion too, because the store itself remembers the last one. */
  private nextFence(): bigint {
    const clock = BigInt(Math.trunc(this.nowMs() * 1_000));
    this.lastFence = clock > this.lastFence ? clock : this.lastFence + 1n;
    return this.lastFence;
  }
}

function isOpen({ state }: StoredOperation): boolean {
  return state === 'running' || state === 'uncertain';
}

function pastOf(before: StoredOperation | undefined): Past {
  if (!before) return 'none';
  if (before.state === 'running') return 'vanished';
  return before.past === 'none' && before.fingerprint !== undefined ? 'released' : before.past;
}

function acquired({ fence, past }: StoredOperation): BeginOutcome {
  return { outcome: 'acquired', fence, recovered: past === 'vanished' };
}
