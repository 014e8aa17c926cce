const HALF_A_SURROGATE_PAIR = /\p{Cs}/u;

export const UNSTORABLE = 'a NUL character or half of a surrogate pair';

/** Fits into a database's text, and through every transport. Another would become a dead letter after the commit. */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && !HALF_A_SURROGATE_PAIR.test(text);
}
