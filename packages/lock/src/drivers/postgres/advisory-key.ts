import { createHash } from 'node:crypto';

/**
 * The 64 bits by which Postgres knows a lock. Two names with the same bits share one lock: that costs a wait, and never
 * gives a lock to two.
 */
export function advisoryKey(namespace: string, key: string): bigint {
  return createHash('sha256').update(`${namespace}\0${key}`).digest().readBigInt64BE(0);
}
