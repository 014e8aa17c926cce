// Postgres keeps no text that has a NUL in it.

const NUL = '\u0000';
const ESCAPE = '\u0001';
const ESCAPED_NUL = `${ESCAPE}0`;
const ESCAPED_ESCAPE = `${ESCAPE}1`;

export function withoutNul(text: string): string {
  return text.replaceAll(ESCAPE, ESCAPED_ESCAPE).replaceAll(NUL, ESCAPED_NUL);
}

/** The text that {@link withoutNul} was given. */
export function withNul(text: string): string {
  return text.includes(ESCAPE) ? text.replaceAll(ESCAPED_NUL, NUL).replaceAll(ESCAPED_ESCAPE, ESCAPE) : text;
}
