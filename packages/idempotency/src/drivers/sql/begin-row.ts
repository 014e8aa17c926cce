import type { BeginOutcome, Settlement } from '../../idempotency-store.js';
import type { AdoptOutcome, Steps } from '../../store-abilities.js';
import type { Timed } from './idempotency-table.js';

/** What the database answers to a begin. Numbers as text: a client may make a number of them that has lost its last digits. */
export interface BeginRow {
  readonly outcome: string;
  readonly clock_ms: string;
  readonly left_ms: string | null;
  readonly fence: string | null;
  readonly response: string | null;
  readonly steps: string | null;
}

/** What the database answers to an adoption. */
export interface AdoptRow {
  readonly fence: string;
  readonly steps: string | null;
  readonly retention_ms: string;
}

export function readBegin(row: BeginRow | undefined): Timed<BeginOutcome> {
  if (!row) throw new TypeError('The database answered a begin with no row');
  return { answer: readOutcome(row), clockMs: Number(row.clock_ms) };
}

export function readAdopt(row: AdoptRow | undefined): AdoptOutcome {
  if (!row) return { outcome: 'gone' };
  const { fence, steps, retention_ms: retentionMs } = row;
  return {
    outcome: 'acquired',
    fence: BigInt(fence),
    steps: readSteps(steps) ?? {},
    retentionMs: Number(retentionMs),
  };
}

/** By name of step, in an object that has nothing else. */
function readSteps(steps: string | null): Steps | undefined {
  return steps === null ? undefined : (JSON.parse(steps) as Steps);
}

/** Target, response, retention. */
export function settlementParams(end: Settlement): readonly [string, string | null, number] {
  if (end.to === 'completed') return ['C', end.response, end.retentionMs];
  if (end.to === 'released') return [end.notApplied ? 'N' : 'R', null, end.retentionMs];
  return ['U', null, 0];
}

function readOutcome(row: BeginRow): BeginOutcome {
  const { outcome } = row;
  switch (outcome) {
    case 'acquired':
    case 'recovered': {
      const acquired = { fence: BigInt(row.fence ?? 0), recovered: outcome === 'recovered' };
      const steps = readSteps(row.steps);
      return { outcome: 'acquired', ...acquired, ...(steps === undefined ? {} : { steps }) };
    }
    case 'completed':
      return { outcome, response: row.response ?? '' };
    case 'busy':
      return { outcome, retryAfterMs: Number(row.left_ms) };
    case 'mismatch':
    case 'uncertain':
    case 'absent':
    case 'late':
      return { outcome };
    default:
      throw new TypeError(`The database answered a begin with ${JSON.stringify(outcome)}`);
  }
}
