/** What is done to one key, many in one statement and in their order. */
export type OperationKind = 'take' | 'take-shared' | 'join' | 'give' | 'give-shared' | 'ping';

const KEY_OF_LOCK = '((l.classid::bigint << 32) | l.objid::bigint)';

/** Advisory locks with one key of 64 bits, in this database. */
const LOCKS = `pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())`;

const FENCE = `nextval('lockstep_lock_fence')`;

const GIVE = `WHEN 'give' THEN CASE WHEN pg_advisory_unlock(o.key) THEN 1 END
    WHEN 'give-shared' THEN CASE WHEN pg_advisory_unlock_shared(o.key) THEN 1 END
    WHEN 'ping' THEN 1`;

const OPERATIONS = `FROM unnest($1::text[], $2::bigint[]) AS o(kind, key)`;

/**
 * Kinds $1 and keys $2. The fence of a lock is drawn once it is held: one that was drawn before might be smaller than
 * that of a holder in between. `join` is for a reader whose session has the lock already: Postgres would grant it to that
 * session over the heads of those who wait.
 */
const OPERATE = {
  name: 'lockstep_lock',
  text: `SELECT pg_backend_pid() AS pid, CASE o.kind
    WHEN 'take' THEN CASE WHEN pg_try_advisory_lock(o.key) THEN ${FENCE} END
    WHEN 'take-shared' THEN CASE WHEN pg_try_advisory_lock_shared(o.key) THEN ${FENCE} END
    WHEN 'join' THEN CASE WHEN NOT EXISTS (SELECT FROM ${LOCKS} AND NOT l.granted AND ${KEY_OF_LOCK} = o.key) THEN ${FENCE} END
    ${GIVE} END::text AS answer ${OPERATIONS}`,
};

/** Without the fences, so that a lock can be given back also where they are gone. */
const GIVE_ONLY = {
  name: 'lockstep_unlock',
  text: `SELECT pg_backend_pid() AS pid, CASE o.kind ${GIVE} END::text AS answer ${OPERATIONS}`,
};

const NEEDS_FENCE: ReadonlySet<OperationKind> = new Set(['take', 'take-shared', 'join']);

/** The statement that does all of `kinds`. */
export function operateStatement(kinds: readonly OperationKind[]): { readonly name: string; readonly text: string } {
  return kinds.some((kind) => NEEDS_FENCE.has(kind)) ? OPERATE : GIVE_ONLY;
}

/** Waits at most $1 ms for key $2. The steps feed each other, so that none can be evaluated before the one it needs. */
export function waitStatement(isShared: boolean): string {
  const lock = isShared ? 'pg_advisory_lock_shared' : 'pg_advisory_lock';
  return `WITH
    bound AS MATERIALIZED (SELECT set_config('lock_timeout', $1, false)),
    held AS MATERIALIZED (SELECT ${lock}($2::bigint) FROM bound)
    SELECT pg_backend_pid() AS pid, ${FENCE}::text AS fence,
      extract(epoch FROM clock_timestamp() - statement_timestamp())::float8 * 1000 AS waited FROM held`;
}

/**
 * Whether a statement sees what was committed before it began. Of other transactions the snapshot is older than the wait
 * for a lock, and nothing is locked for them.
 */
const SEES_COMMITTED = `current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')`;

/** In the caller's transaction: key $1, bound $2 in ms. The caller's own lock_timeout is as before afterwards. */
export function transactionWaitStatement(isShared: boolean): string {
  const lock = isShared ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock';
  return `WITH
    before AS MATERIALIZED (SELECT current_setting('lock_timeout') AS value, ${SEES_COMMITTED} AS fresh),
    bound AS MATERIALIZED (SELECT value, fresh, set_config('lock_timeout', $2, true) FROM before),
    held AS MATERIALIZED (SELECT value, fresh, CASE WHEN fresh THEN ${lock}($1::bigint)::text END FROM bound)
    SELECT fresh, CASE WHEN fresh THEN ${FENCE} END::text AS fence, set_config('lock_timeout', value, true) FROM held`;
}

export function transactionTryStatement(isShared: boolean): string {
  const lock = isShared ? 'pg_try_advisory_xact_lock_shared' : 'pg_try_advisory_xact_lock';
  return `SELECT ${SEES_COMMITTED} AS fresh,
    CASE WHEN ${SEES_COMMITTED} THEN CASE WHEN ${lock}($1::bigint) THEN ${FENCE} END END::text AS fence`;
}

const BACKEND_START = '(extract(epoch FROM a.backend_start) * 1000000)::bigint::text';

/**
 * Settings of a session, by names $1 and values $2 (a server does not know all of them), and who it is. Fences of a
 * server that loses its last commits in a crash would be given out twice.
 */
export const PREPARE_SESSION = `SELECT pg_backend_pid() AS pid, 'lockstep_lock_fence'::regclass::text AS fence,
    (SELECT ${BACKEND_START} FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_backend_pid()) AS started,
    (SELECT count(set_config(s.name, w.value, false)) FROM unnest($1::text[], $2::text[]) AS w(name, value)
      JOIN pg_catalog.pg_settings s ON s.name = w.name) AS settings,
    CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`;

export const LISTEN = 'LISTEN lockstep_lock';
export const ASK_BACK = `SELECT pg_notify('lockstep_lock', $1)`;

export const WHO_AM_I = 'SELECT pg_backend_pid() AS pid';

/** Names $1 and values $2. */
export const CONFIGURE = `SELECT set_config(w.name, w.value, false) FROM unnest($1::text[], $2::text[]) AS w(name, value)`;

export const CANCEL = 'SELECT pg_cancel_backend($1)';

/** Sessions that hold key $1 or wait for it. */
export const INSPECT = `SELECT l.pid, l.granted, coalesce(${BACKEND_START}, '0') AS started
  FROM pg_catalog.pg_stat_activity a RIGHT JOIN (SELECT l.pid, l.granted FROM ${LOCKS} AND ${KEY_OF_LOCK} = $1::bigint) l
  ON a.pid = l.pid`;

/** Ends backend $1 and waits at most $2 ms until it has gone. */
export const TERMINATE = 'SELECT pg_terminate_backend($1::int, $2::bigint) AS gone';
