/** SQLSTATEs (or their classes) that speak of the server or of a schema that is gone, not of the statement. */
const OUTAGE = /^(08|57P0[1-5]|53|42P01|42883|3F000|3D000|25006)/;

/** Whether the server must be looked at again before the next statement: also when it came back without our tables. */
export function isOutage(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code !== 'string') return true;
  const isSqlState = /^[0-9A-Z]{5}$/.test(code);
  return !isSqlState || OUTAGE.test(code);
}
