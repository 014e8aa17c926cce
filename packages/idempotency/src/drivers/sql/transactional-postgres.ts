import { isLockTimeout, type SqlTransaction } from '@lockstep/sql';
import type { TransactionalRequest } from '../../store-abilities.js';
import {
  type ClaimOutcome,
  ClaimTimeout,
  type FoundRow,
  hasVanishedOwner,
  refusalBy,
  type TransactionalTable,
} from './transactional-table.js';

interface GateRow {
  /** `lock_timeout` as it was, to be given back before the work. */
  readonly former: string;
  readonly is_open: boolean;
}

interface ClaimedRow {
  readonly fence: string;
}

/** How often the row may change between two statements before somebody else must be thought to have it. */
const MOST_LOOKS = 5;

const NOW_US = '(extract(epoch FROM clock_timestamp()) * 1000000)::bigint';
/** What stands behind the gate are statements of a moment: a sweep, a settlement. */
const BEHIND_GATE = `set_config('lock_timeout', '1s', true)`;
const CLAIMED = `fence::text AS fence, set_config('lock_timeout', $5, true)`;

// Left to right: the timeout is set when the gate is waited for.
const WAIT_GATE = `SELECT current_setting('lock_timeout') AS former, set_config('lock_timeout', $2, true),
  pg_advisory_xact_lock(hashtextextended($1, 0)), true AS is_open, ${BEHIND_GATE}`;
const TRY_GATE = `SELECT current_setting('lock_timeout') AS former, ${BEHIND_GATE},
  pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS is_open`;

const INSERT = `INSERT INTO lockstep_idempotency (id, state, fingerprint, owner, fence, operation, policy, past)
  VALUES ($1, 'P', $2, $3, ${NOW_US}, $4, 'R', 0)
  ON CONFLICT (id) DO NOTHING
  RETURNING ${CLAIMED}`;

const FIND = `SELECT state, fingerprint, fence::text AS fence, policy, past, response,
    expires_at <= clock_timestamp() AS is_over, lease_until > clock_timestamp() AS is_leased
  FROM lockstep_idempotency WHERE id = $1`;

// An owner may have renewed its lease since the row was looked at.
const TAKE = `UPDATE lockstep_idempotency SET state = 'P', fingerprint = $2, owner = $3,
    fence = greatest(fence + 1, ${NOW_US}), operation = $4, policy = 'R', is_awaited = false,
    past = CASE WHEN expires_at <= clock_timestamp() THEN 0 WHEN state = 'P' THEN 2 ELSE past END,
    lease_until = NULL, uncertain_since = NULL, expires_at = NULL, response = NULL, steps = NULL
  WHERE id = $1 AND fence = $6 AND state = $7::"char" AND (state <> 'P' OR lease_until <= clock_timestamp())
  RETURNING ${CLAIMED}`;

const COMPLETE = `UPDATE lockstep_idempotency SET state = 'C', response = $3,
    expires_at = clock_timestamp() + $4::float8 * interval '1 millisecond'
  WHERE id = $1 AND owner = $2 AND state = 'P'`;

const LEAVE_UNCERTAIN = `UPDATE lockstep_idempotency SET state = 'U', policy = 'U', uncertain_since = clock_timestamp(),
    retention_ms = $3
  WHERE id = $1 AND owner = $2 AND state = 'P'`;

/**
 * All transactions of one operation take its gate first, an advisory lock that lives to the end of the transaction: so
 * whoever does not want to wait can ask without waiting. The row behind it is the truth.
 */
export class PostgresTransactionalTable implements TransactionalTable {
  async claim(tx: SqlTransaction, request: TransactionalRequest): Promise<ClaimOutcome> {
    try {
      const former = await passGate(tx, request);
      if (former === undefined) return { outcome: 'busy' };
      for (let look = 0; look < MOST_LOOKS; look += 1) {
        const outcome = await lookAndClaim(tx, request, former);
        if (outcome) return outcome;
      }
      return { outcome: 'busy' };
    } catch (error) {
      throw isLockTimeout(error) ? new ClaimTimeout('another transaction has the operation', { cause: error }) : error;
    }
  }

  async complete(tx: SqlTransaction, request: TransactionalRequest, response: string): Promise<boolean> {
    return (await tx.execute(COMPLETE, [request.id, request.owner, response, request.retentionMs])) === 1;
  }

  async leaveUncertain(tx: SqlTransaction, { id, owner, retentionMs }: TransactionalRequest): Promise<boolean> {
    return (await tx.execute(LEAVE_UNCERTAIN, [id, owner, retentionMs])) === 1;
  }
}

/** What the lock timeout was before; undefined when the gate is somebody else's. */
async function passGate(tx: SqlTransaction, { id, waitMs }: TransactionalRequest): Promise<string | undefined> {
  const gate = gateOf(id);
  const [row] =
    waitMs > 0
      ? await tx.query<GateRow>(WAIT_GATE, [gate, `${Math.ceil(waitMs)}ms`])
      : await tx.query<GateRow>(TRY_GATE, [gate]);
  return row?.is_open ? row.former : undefined;
}

/**
 * The name of the gate. Scope, operation and key are told apart within the id already, a hash over them with their
 * lengths (H7e); what is before the colon tells it from what else an application locks by name.
 */
function gateOf(id: string): string {
  return `lockstep:idempotency:${id}`;
}

/** Undefined when the row was changed by others in between. */
async function lookAndClaim(
  tx: SqlTransaction,
  request: TransactionalRequest,
  former: string,
): Promise<ClaimOutcome | undefined> {
  const { id, fingerprint, owner, operation, requiresIssue } = request;
  const claim = [id, fingerprint, owner, operation, former];
  if (!requiresIssue) {
    const [made] = await tx.query<ClaimedRow>(INSERT, claim);
    if (made) return { outcome: 'claimed', fence: BigInt(made.fence), recovered: false };
  }
  const [found] = await tx.query<FoundRow>(FIND, [id]);
  const refusal = refusalBy(found, request);
  if (refusal || !found) return refusal;
  const [taken] = await tx.query<ClaimedRow>(TAKE, [...claim, found.fence, found.state]);
  return taken && { outcome: 'claimed', fence: BigInt(taken.fence), recovered: hasVanishedOwner(found) };
}
