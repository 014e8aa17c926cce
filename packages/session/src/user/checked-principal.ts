import type { Principal } from '@lockstep/core';
import { SessionMisuseError } from '../session.errors.js';

/** @throws SessionMisuseError for a user without an id */
export function checkedPrincipal(user: Partial<Principal> | undefined): Principal {
  const { id, tenant } = user ?? {};
  if (typeof id !== 'string' || id === '' || (tenant !== undefined && typeof tenant !== 'string')) {
    throw new SessionMisuseError('login() needs a principal with an id of its own, a string that is not empty.');
  }
  return Object.freeze(tenant === undefined ? { id } : { id, tenant });
}
