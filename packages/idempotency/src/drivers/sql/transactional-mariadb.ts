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

/** The row as it is after the statement: ours, or the one that was there, which is locked now. */
interface LockedRow extends FoundRow {
  readonly owner: string;
  /** The fence that a claim on it has. */
  readonly next: string;
}

const NOW_US = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))`;
const ROW = `owner, state, fingerprint, CAST(fence AS CHAR) AS fence, policy, past, response,
  CAST(GREATEST(fence + 1, ${NOW_US}) AS CHAR) AS next,
  expires_at <= UTC_TIMESTAMP(6) AS is_over, lease_until > UTC_TIMESTAMP(6) AS is_leased`;

// One statement inserts, or locks the row that is there and reads its latest version. A plain INSERT that fails would
// leave a shared lock behind, over which two who then want more would deadlock.
const CLAIM = `INSERT INTO lockstep_idempotency (id, state, fingerprint, owner, fence, operation, policy, past)
  VALUES ($1, 'P', $2, $3, ${NOW_US}, $4, 'R', 0)
  ON DUPLICATE KEY UPDATE id = id
  RETURNING ${ROW}`;

const LOCK = `SELECT ${ROW} FROM lockstep_idempotency WHERE id = $1 FOR UPDATE`;

// From left to right, each assignment sees those before it.
const TAKE = `UPDATE lockstep_idempotency SET
    past = CASE WHEN expires_at <= UTC_TIMESTAMP(6) THEN 0 WHEN state = 'P' THEN 2 ELSE past END,
    state = 'P', fingerprint = $2, owner = $3, fence = $5, operation = $4, policy = 'R', is_awaited = false,
    lease_until = NULL, uncertain_since = NULL, expires_at = NULL, response = NULL, steps = NULL
  WHERE id = $1`;

const COMPLETE = `UPDATE lockstep_idempotency SET state = 'C', response = $3,
    expires_at = UTC_TIMESTAMP(6) + INTERVAL ($4 * 1000) MICROSECOND
  WHERE id = $1 AND owner = $2 AND state = 'P'`;

const LEAVE_UNCERTAIN = `UPDATE lockstep_idempotency SET state = 'U', policy = 'U', uncertain_since = UTC_TIMESTAMP(6),
    retention_ms = $3
  WHERE id = $1 AND owner = $2 AND state = 'P'`;

/** The row is gate and truth in one: InnoDB can be told for each statement how long to wait for it, or not to. */
export class MariaDbTransactionalTable implements TransactionalTable {
  async claim(tx: SqlTransaction, request: TransactionalRequest): Promise<ClaimOutcome> {
    const row = await lockedRow(tx, request);
    const isMade = row?.owner === request.owner && row.state === 'P';
    if (isMade) return { outcome: 'claimed', fence: BigInt(row.fence), recovered: false };
    const refusal = refusalBy(row, request);
    if (refusal || !row) return refusal ?? { outcome: 'busy' };
    const { id, fingerprint, owner, operation } = request;
    await tx.execute(TAKE, [id, fingerprint, owner, operation, row.next]);
    return { outcome: 'claimed', fence: BigInt(row.next), recovered: hasVanishedOwner(row) };
  }

  async complete(tx: SqlTransaction, request: TransactionalRequest, response: string): Promise<boolean> {
    return (await tx.execute(COMPLETE, [request.id, request.owner, response, request.retentionMs])) === 1;
  }

  async leaveUncertain(tx: SqlTransaction, { id, owner, retentionMs }: TransactionalRequest): Promise<boolean> {
    return (await tx.execute(LEAVE_UNCERTAIN, [id, owner, retentionMs])) === 1;
  }
}

async function lockedRow(tx: SqlTransaction, request: TransactionalRequest): Promise<LockedRow | undefined> {
  const { id, fingerprint, owner, operation, requiresIssue } = request;
  try {
    const [row] = requiresIssue
      ? await tx.query<LockedRow>(waiting(request, LOCK), [id])
      : await tx.query<LockedRow>(waiting(request, CLAIM), [id, fingerprint, owner, operation]);
    return row;
  } catch (error) {
    throw isLockTimeout(error) ? new ClaimTimeout('another transaction has the operation', { cause: error }) : error;
  }
}

/** In whole seconds, rounded up, as InnoDB counts; zero does not wait. For this statement alone. */
function waiting({ waitMs }: TransactionalRequest, statement: string): string {
  return `SET STATEMENT innodb_lock_wait_timeout = ${Math.ceil(waitMs / 1_000)} FOR ${statement}`;
}
