import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http';

type Value = OutgoingHttpHeader | undefined;

/**
 * What `writeHead` of an answer that carries a token is to be called with, so that the cookies that were set leave as
 * well and no cache keeps it: headers given to it replace those of the response, and Fastify gives all of them.
 */
export function withHeadOf(response: ServerResponse, args: readonly unknown[]): unknown[] {
  const at = args.length - 1;
  const given = args[at];
  if (typeof given !== 'object' || given === null || response.headersSent) return [...args];
  const cookies = listed(response.getHeader('Set-Cookie'));
  const headers = new Map<string, { name: string; values: string[] }>();
  for (const [name, value] of entriesOf(given as OutgoingHttpHeaders | readonly unknown[])) {
    const key = name.toLowerCase();
    // Of the response, which has it kept by nobody.
    if (key === 'cache-control' && !isUncached(value)) continue;
    const known = headers.get(key);
    if (known) known.values.push(...listed(value));
    else headers.set(key, { name, values: listed(value) });
  }
  const own = headers.get('set-cookie')?.values ?? [];
  const values = [...new Set([...own, ...cookies])];
  if (values.length > 0) headers.set('set-cookie', { name: 'Set-Cookie', values });
  const merged = [...headers.values()].map(({ name, values }) => [name, values.length === 1 ? values[0] : values]);
  return [...args.slice(0, at), Object.fromEntries(merged)];
}

export function listed(value: Value): string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value.map(String) : [String(value)];
}

/** Whether no shared cache may keep what has this `Cache-Control`. */
export function isUncached(value: Value): boolean {
  return /\b(?:no-store|private)\b/i.test(listed(value).join());
}

/** `writeHead` takes an object, a list of pairs, or names and values in turn. */
function entriesOf(headers: OutgoingHttpHeaders | readonly unknown[]): [string, Value][] {
  if (!Array.isArray(headers)) return Object.entries(headers as OutgoingHttpHeaders);
  if (Array.isArray(headers[0])) return headers as [string, Value][];
  const entries: [string, Value][] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    entries.push([String(headers[index]), headers[index + 1] as Value]);
  }
  return entries;
}
