const MAX_ERROR_CHARS = 2_000;

/** As a store keeps it: text columns cannot hold NUL, and an error may quote anything. */
export function errorText(error: string): string {
  return error.replaceAll('\u0000', '').slice(0, MAX_ERROR_CHARS);
}
