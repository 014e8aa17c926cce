/** Postgres: could not serialize, deadlock. MariaDB: deadlock, and a snapshot that is too old. */
const SERIALIZATION: ReadonlySet<unknown> = new Set(['40001', '40P01', 1213, 1020]);
/** Postgres: a lock was not had in time, or not at once. MariaDB the same. */
const LOCK_TIMEOUT: ReadonlySet<unknown> = new Set(['55P03', 1205]);
/** Libraries wrap the errors of the driver, and handlers wrap those. */
const DEEPEST_CAUSE = 8;

/** Whether the database rolled back because of others, so that the same in a new transaction may well succeed. */
export function isSerializationFailure(error: unknown): boolean {
  let at = error;
  for (let depth = 0; depth < DEEPEST_CAUSE; depth += 1) {
    if (typeof at !== 'object' || at === null) return false;
    if (hasCode(at, SERIALIZATION)) return true;
    at = (at as { readonly cause?: unknown }).cause;
  }
  return false;
}

/** Whether the statement gave up waiting for a lock. */
export function isLockTimeout(error: unknown): boolean {
  return typeof error === 'object' && error !== null && hasCode(error, LOCK_TIMEOUT);
}

function hasCode(error: object, codes: ReadonlySet<unknown>): boolean {
  const { code, errno } = error as { readonly code?: unknown; readonly errno?: unknown };
  return codes.has(code) || codes.has(errno);
}
