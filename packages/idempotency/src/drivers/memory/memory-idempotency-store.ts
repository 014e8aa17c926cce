import type {
  BeginOutcome,
  BeginRequest,
  Claim,
  IdempotencyStore,
  Renewal,
  RenewalOutcome,
  Resolution,
  Settlement,
  UncertainOperation,
} from '../../idempotency-store.js';
import type {
  AdoptingStore,
  AdoptOutcome,
  AdoptRequest,
  PushingStore,
  StepStore,
  TokenStore,
} from '../../store-abilities.js';
import { blankRecord, isOpen, type OperationRecord, OperationRecords, pastOf } from './operation-records.js';
import { SingleTokens } from './single-tokens.js';

export interface MemoryIdempotencyStoreOptions {
  /** Clock in epoch milliseconds. @default a clock of this process that never steps */
  readonly nowMs?: () => number;
}

const PURGE_EVERY_BEGINS = 256;

/**
 * The records in the memory of this process: right for one process and for tests, gone with a restart. Records past
 * their end are dropped on every 256th begin and on each sweep, so that memory follows the traffic within retention.
 */
export class MemoryIdempotencyStore implements IdempotencyStore, PushingStore, StepStore, AdoptingStore, TokenStore {
  private readonly records: OperationRecords;
  private readonly singleTokens = new SingleTokens();
  private readonly watchers = new Map<string, Set<() => void>>();
  private begins = 0;

  constructor(options: MemoryIdempotencyStoreOptions = {}) {
    this.records = new OperationRecords(options.nowMs ?? (() => performance.timeOrigin + performance.now()));
  }

  /** How many records there are, those past their end included. */
  get size(): number {
    return this.records.size;
  }

  async begin(request: BeginRequest): Promise<BeginOutcome> {
    this.begins += 1;
    if (this.begins % PURGE_EVERY_BEGINS === 0) this.records.purge();
    const record = this.records.find(request.id);
    if (!record) return request.requiresIssue ? { outcome: 'absent' } : this.claim(request, undefined);
    if (record.fingerprint !== undefined && record.fingerprint !== request.fingerprint) return { outcome: 'mismatch' };
    if (record.state === 'completed') return { outcome: 'completed', response: record.response };
    const own = record.owner === request.owner;
    if (record.state === 'released' && own) return { outcome: 'late' };
    if (!isOpen(record)) return this.claim(request, record);
    if (!own) return this.meet(request, record);
    this.records.run(record, request);
    return acquired(record);
  }

  async renew(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]> {
    return items.map((item) => {
      const record = this.owned(item);
      if (!record || !isOpen(record)) return 'lost';
      this.records.run(record, item);
      return 'renewed';
    });
  }

  async settle(claim: Claim, settlement: Settlement): Promise<boolean> {
    const record = this.owned(claim);
    if (!record) return false;
    if (!isOpen(record)) return record.state === settlement.to;
    if (settlement.to === 'uncertain') {
      // A renewal on its way or an adoption sets it running again; when that one vanishes nobody may simply begin.
      record.policy = 'uncertain';
      this.records.markUncertain(record);
    } else {
      const forget = settlement.to === 'released' && settlement.notApplied && record.past === 'none';
      this.records.close(record, settlement, forget);
    }
    for (const heard of this.watchers.get(claim.id) ?? []) heard();
    return true;
  }

  async sweep(limit: number): Promise<number> {
    this.records.purge();
    let marked = 0;
    for (const [, record] of this.records) {
      if (marked === limit) break;
      if (!this.records.isAbandoned(record)) continue;
      this.records.markUncertain(record);
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
    const record = this.records.find(id);
    if (record?.state !== 'uncertain') return false;
    const retentionMs = Math.max(resolution.retentionMs, record.retentionMs);
    this.records.close(record, { ...resolution, retentionMs }, true);
    // Its owner may still be alive, but the operator has had the last word.
    record.owner = '';
    record.past = 'none';
    return true;
  }

  async adopt(request: AdoptRequest): Promise<AdoptOutcome> {
    const record = this.records.find(request.id);
    const own = record?.owner === request.owner && record.state === 'running';
    if (!record || (record.state !== 'uncertain' && !own)) return { outcome: 'gone' };
    if (record.owner !== request.owner) record.fence = this.records.nextFence();
    record.owner = request.owner;
    record.past = 'vanished';
    const retentionMs = Math.max(request.retentionMs, record.retentionMs);
    this.records.run(record, { ...request, retentionMs });
    return { outcome: 'acquired', fence: record.fence, steps: Object.fromEntries(record.steps), retentionMs };
  }

  async saveStep(claim: Claim, step: string, result: string): Promise<boolean> {
    const record = this.owned(claim);
    if (!record || !isOpen(record)) return false;
    if (!record.steps.has(step)) record.steps.set(step, result);
    return true;
  }

  async issue(id: string, ttlMs: number): Promise<void> {
    const record = this.records.find(id) ?? blankRecord();
    if (record.state !== 'issued') return;
    record.expiresAt = this.records.nowMs() + ttlMs;
    this.records.put(id, record);
  }

  async issueSingle(slot: string, token: string, ttlMs: number): Promise<void> {
    this.singleTokens.issue(slot, token, this.records.nowMs(), ttlMs);
  }

  async takeSingle(slot: string, token: string): Promise<boolean> {
    return this.singleTokens.take(slot, token, this.records.nowMs());
  }

  async watch(id: string, heard: () => void): Promise<() => Promise<void>> {
    const watchers = this.watchers.get(id) ?? new Set();
    this.watchers.set(id, watchers);
    // One of its own, so that the same function may watch twice.
    const watcher = (): void => heard();
    watchers.add(watcher);
    return async () => {
      watchers.delete(watcher);
      if (watchers.size === 0 && this.watchers.get(id) === watchers) this.watchers.delete(id);
    };
  }

  private meet(request: BeginRequest, record: OperationRecord): BeginOutcome {
    if (record.state === 'uncertain') return { outcome: 'uncertain' };
    const leftMs = record.leaseEndsAt - this.records.nowMs();
    if (leftMs > 0) return { outcome: 'busy', retryAfterMs: leftMs };
    if (record.policy === 'retry') return this.claim(request, record);
    this.records.markUncertain(record);
    return { outcome: 'uncertain' };
  }

  private claim(request: BeginRequest, before: OperationRecord | undefined): BeginOutcome {
    const { fingerprint, owner, operation, retentionMs, onLeaseExpiry: policy } = request;
    const fence = this.records.nextFence();
    const steps = before?.steps ?? new Map<string, string>();
    const asked = { fingerprint, owner, operation, policy, retentionMs };
    const record = { ...blankRecord(), ...asked, fence, steps, past: pastOf(before) };
    this.records.run(record, request);
    this.records.put(request.id, record);
    return acquired(record);
  }

  private owned({ id, owner }: Claim): OperationRecord | undefined {
    const record = this.records.find(id);
    return record?.owner === owner ? record : undefined;
  }
}

function acquired({ fence, past, steps }: OperationRecord): BeginOutcome {
  return {
    outcome: 'acquired',
    fence,
    recovered: past === 'vanished',
    steps: steps.size === 0 ? undefined : Object.fromEntries(steps),
  };
}
