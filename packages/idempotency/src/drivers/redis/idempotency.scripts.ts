import type { ScriptDefinition } from '@lockstep/redis';
import type { BeginOutcome, BeginRequest, Claim, Renewal, Resolution, Settlement } from '../../idempotency-store.js';
import type { AdoptOutcome, AdoptRequest, Steps } from '../../store-abilities.js';
import { type IdempotencyKeys, indexMember } from './idempotency-keys.js';

/** What lies in an index. */
export interface IndexEntry {
  readonly member: string;
  readonly score: number;
}

export interface IndexRead {
  readonly index: string;
  readonly limit: number;
  readonly which: 'due' | 'all';
}

const source = (name: string): URL => new URL(`./scripts/${name}.lua`, import.meta.url);
const STEPS = [source('operation-steps')];
const ALWAYS = Number.MAX_SAFE_INTEGER;

export function beginScript(
  keys: IdempotencyKeys,
  serverTime: { readonly nowMs: () => number; readonly boundMs: () => number },
): ScriptDefinition<BeginRequest, BeginOutcome> {
  const notAfter = (withinMs: number): number => {
    const latest = Math.ceil(serverTime.nowMs() + serverTime.boundMs() + withinMs);
    // Before the first answer nothing is known of the server's clock.
    return Number.isFinite(latest) ? latest : ALWAYS;
  };
  return {
    name: 'idempotency.begin',
    source: source('begin-operation'),
    library: STEPS,
    clock: 'lazy',
    keyCount: 3,
    argCount: 8,
    keys: ({ id }) => keys.all(id),
    args: (request) => [
      request.fingerprint,
      request.owner,
      request.leaseMs,
      request.retentionMs,
      request.onLeaseExpiry === 'uncertain' ? 'U' : 'R',
      indexMember(request.id, request.operation),
      notAfter(request.applyWithinMs),
      (request.requiresIssue ? 'I' : '') + (request.isWaiting ? 'W' : ''),
    ],
    read: readBegin,
  };
}

export function renewScript(keys: IdempotencyKeys): ScriptDefinition<Renewal, boolean> {
  return {
    name: 'idempotency.renew',
    source: source('renew-operation'),
    keyCount: 3,
    argCount: 3,
    keys: ({ id }) => keys.all(id),
    args: ({ owner, leaseMs, retentionMs }) => [owner, leaseMs, retentionMs],
    read: readYesNo,
  };
}

export function settleScript(
  keys: IdempotencyKeys,
): ScriptDefinition<{ readonly claim: Claim; readonly settlement: Settlement }, boolean> {
  return {
    name: 'idempotency.settle',
    source: source('settle-operation'),
    library: STEPS,
    clock: 'lazy',
    keyCount: 3,
    argCount: 4,
    keys: ({ claim }) => keys.all(claim.id),
    args: ({ claim, settlement }) => [claim.owner, ...settlementArgs(settlement)],
    read: readYesNo,
  };
}

export function resolveScript(
  keys: IdempotencyKeys,
): ScriptDefinition<{ readonly id: string; readonly resolution: Resolution }, boolean> {
  return {
    name: 'idempotency.resolve',
    source: source('resolve-operation'),
    library: STEPS,
    keyCount: 2,
    argCount: 3,
    keys: ({ id }) => {
      const [record, , uncertain] = keys.all(id);
      return [record, uncertain];
    },
    args: ({ resolution: end }) =>
      end.to === 'completed' ? ['C', end.response, end.retentionMs] : ['R', '', end.retentionMs],
    read: readYesNo,
  };
}

export function adoptScript(keys: IdempotencyKeys): ScriptDefinition<AdoptRequest, AdoptOutcome> {
  return {
    name: 'idempotency.adopt',
    source: source('adopt-operation'),
    library: STEPS,
    keyCount: 3,
    argCount: 3,
    keys: ({ id }) => keys.all(id),
    args: ({ owner, leaseMs, retentionMs }) => [owner, leaseMs, retentionMs],
    read: readAdopt,
  };
}

export function saveStepScript(
  keys: IdempotencyKeys,
): ScriptDefinition<{ readonly claim: Claim; readonly step: string; readonly result: string }, boolean> {
  return {
    name: 'idempotency.save-step',
    source: source('save-step'),
    keyCount: 1,
    argCount: 3,
    keys: ({ claim }) => [keys.record(claim.id)],
    args: ({ claim, step, result }) => [claim.owner, step, result],
    read: readYesNo,
  };
}

export function issueScript(
  keys: IdempotencyKeys,
): ScriptDefinition<{ readonly id: string; readonly ttlMs: number }, boolean> {
  return {
    name: 'idempotency.issue',
    source: source('issue-operation'),
    keyCount: 1,
    argCount: 1,
    keys: ({ id }) => [keys.record(id)],
    args: ({ ttlMs }) => [ttlMs],
    read: readYesNo,
  };
}

export function markUncertainScript(
  keys: IdempotencyKeys,
): ScriptDefinition<{ readonly id: string; readonly member: string }, boolean> {
  return {
    name: 'idempotency.mark-uncertain',
    source: source('mark-uncertain'),
    keyCount: 3,
    argCount: 1,
    keys: ({ id }) => keys.all(id),
    args: ({ member }) => [member],
    read: readYesNo,
  };
}

export function readIndexScript(): ScriptDefinition<IndexRead, readonly IndexEntry[]> {
  return {
    name: 'idempotency.read-index',
    source: source('read-index'),
    keyCount: 1,
    argCount: 2,
    keys: ({ index }) => [index],
    args: ({ limit, which }) => [limit, which],
    read: readEntries,
  };
}

function settlementArgs(end: Settlement): readonly (string | number)[] {
  if (end.to === 'completed') return ['C', end.response, end.retentionMs];
  if (end.to === 'released') return [end.notApplied ? 'N' : 'R', '', end.retentionMs];
  return ['U', '', 0];
}

function readBegin(reply: unknown): BeginOutcome {
  if (typeof reply === 'string') return readWord(reply);
  const [outcome, first, second, ...steps] = Array.isArray(reply) ? reply : [];
  switch (outcome) {
    case 'acquired':
      return { outcome, fence: BigInt(first), recovered: second === 1, steps: stepsOf(steps) };
    case 'busy':
      return { outcome, retryAfterMs: Number(first) };
    default:
      throw nonsense(reply);
  }
}

function readWord(outcome: string): BeginOutcome {
  if (outcome.startsWith('=')) return { outcome: 'completed', response: outcome.slice(1) };
  switch (outcome) {
    case 'mismatch':
    case 'uncertain':
    case 'absent':
    case 'late':
      return { outcome };
    default:
      throw nonsense(outcome);
  }
}

function nonsense(reply: unknown): TypeError {
  return new TypeError(`idempotency.begin answered ${JSON.stringify(reply)}`);
}

function readAdopt(reply: unknown): AdoptOutcome {
  const [outcome, fence, retentionMs, ...steps] = Array.isArray(reply) ? reply : [];
  if (outcome === 'gone') return { outcome };
  return { outcome: 'acquired', fence: BigInt(fence), steps: stepsOf(steps) ?? {}, retentionMs: Number(retentionMs) };
}

/** From a flat list of names and results. */
function stepsOf(flat: readonly unknown[]): Steps | undefined {
  if (flat.length === 0) return undefined;
  const pairs = Array.from({ length: flat.length / 2 }, (_, i) => [String(flat[i * 2]), String(flat[i * 2 + 1])]);
  return Object.fromEntries(pairs);
}

function readYesNo(reply: unknown): boolean {
  return reply === 1;
}

function readEntries(reply: unknown): readonly IndexEntry[] {
  const flat: readonly unknown[] = Array.isArray(reply) ? reply : [];
  const entries: IndexEntry[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) entries.push({ member: String(flat[i]), score: Number(flat[i + 1]) });
  return entries;
}
