/** By SQLSTATE on Postgres, by number on MariaDB, whose states are shared by too much; 1020: a snapshot that is too old. */
const CONFLICTS: ReadonlySet<unknown> = new Set(['40001', '40P01', 1213, 1020]);
const LOCK_TIMEOUTS: ReadonlySet<unknown> = new Set(['55P03', 1205]);

/** Serialization failure or deadlock: the step was rolled back because of others, and may be asked for again. */
export function isConflict(error: unknown): boolean {
  return has(CONFLICTS, error);
}

/** A lock could not be had in time: the step was rolled back. */
export function isLockTimeout(error: unknown): boolean {
  return has(LOCK_TIMEOUTS, error);
}

function has(kinds: ReadonlySet<unknown>, error: unknown): boolean {
  const { code, errno } = (error ?? {}) as { readonly code?: unknown; readonly errno?: unknown };
  return kinds.has(code) || kinds.has(errno);
}
