/** What a placeholder or a semicolon means nothing in: text, quoted names, comments. */
const OPAQUE = [
  /'(?:[^'\\]|\\[\s\S]|'')*'/,
  /"(?:[^"\\]|\\[\s\S]|"")*"/,
  /`(?:[^`]|``)*`/,
  /--(?=\s|$)[^\n]*/,
  /#[^\n]*/,
  /\/\*[\s\S]*?\*\//,
]
  .map(({ source }) => source)
  .join('|');

const PLACEHOLDER = new RegExp(`${OPAQUE}|(?<![\\w$])\\$([1-9]\\d*)`, 'g');
const SEMICOLON = new RegExp(`${OPAQUE}|(;)`, 'g');
const COMMENT = /(?:\s|--(?=\s|$)[^\n]*|#[^\n]*|\/\*[\s\S]*?\*\/)+/y;

export interface PositionalStatement {
  readonly sql: string;
  readonly values: unknown[];
}

/**
 * Turns `$1`, `$2` … in any order and number into `?` with one value for each.
 *
 * @throws RangeError when a placeholder has no parameter
 */
export function toPositional(text: string, params: readonly unknown[]): PositionalStatement {
  const values: unknown[] = [];
  const sql = text.replace(PLACEHOLDER, (match: string, number: string | undefined) => {
    if (number === undefined) return match;
    const index = Number(number) - 1;
    if (index >= params.length) throw new RangeError(`${match} has no parameter; ${params.length} were given`);
    values.push(asValue(params[index]));
    return '?';
  });
  return { sql, values };
}

/** The statements of a script, without those that are empty or comments alone. */
export function splitStatements(script: string): string[] {
  const statements: string[] = [];
  let from = 0;
  for (const match of script.matchAll(SEMICOLON)) {
    if (match[1] === undefined) continue;
    statements.push(script.slice(from, match.index));
    from = match.index + 1;
  }
  statements.push(script.slice(from));
  return statements.map(withoutLeadingComments).filter((statement) => statement !== '');
}

/** Begins with the first word that means something. */
export function withoutLeadingComments(text: string): string {
  COMMENT.lastIndex = 0;
  const skipped = COMMENT.exec(text)?.[0].length ?? 0;
  return text.slice(skipped).trimEnd();
}

/** `undefined` is NULL, and an instant is said in UTC, as it is to Postgres. */
function asValue(param: unknown): unknown {
  if (param === undefined) return null;
  if (param instanceof Date) return param.toISOString().replace('T', ' ').replace('Z', '');
  return param;
}
