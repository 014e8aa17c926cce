import { createHash } from 'node:crypto';
import type { Principal } from '@lockstep/core';

/** The group of a user's sessions: `u` and 128 bits of a hash of tenant and id. Different users never share one. */
export function userGroup({ id, tenant }: Principal): string {
  const text = tenant === undefined ? `-${id}` : `${tenant.length}:${tenant}${id}`;
  return `u${createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url')}`;
}
