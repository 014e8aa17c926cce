import { createHash } from 'node:crypto';

const PLAIN = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/**
 * The part of a queue's name that comes from outside. Names of the usual form stay readable; any other becomes a digest,
 * because BullMQ splits names at `:` and nothing else bounds them.
 */
export function queueEntity(...names: readonly string[]): string {
  return names.map((name) => (PLAIN.test(name) ? name : `~${digest([name])}`)).join('/');
}

/** An id for a job: the same for the same parts, in their order. Has neither `:` nor digits alone, as BullMQ demands. */
export function jobId(kind: string, parts: readonly string[]): string {
  return `${kind}-${digest(parts)}`;
}

function digest(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, 32);
}
