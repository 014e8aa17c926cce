import { isConflict } from '@lockstep/sql';

/** Libraries wrap the errors of the driver, and handlers wrap those. */
const DEEPEST_CAUSE = 8;

/** Whether the database rolled back because of others, so that the same in a new transaction may well succeed. */
export function isSerializationFailure(error: unknown): boolean {
  let at = error;
  for (let depth = 0; depth < DEEPEST_CAUSE; depth += 1) {
    if (typeof at !== 'object' || at === null) return false;
    if (isConflict(at)) return true;
    at = (at as { readonly cause?: unknown }).cause;
  }
  return false;
}
