import type { Incidents } from '@lockstep/core';
import { type Revocable, Revocations } from '../revocations.js';
import type { LockScripts } from './lock-scripts.js';

/** A token that must not own the lock, though a request of its may still be on its way. */
export interface Revocation extends Revocable {
  readonly lock: string;
  readonly token: string;
}

export type LockRevocations = Revocations<Revocation>;

export function lockRevocations(revoke: LockScripts['revoke'], incidents: Incidents): LockRevocations {
  return new Revocations<Revocation>(
    async ({ lock, token }) => (await revoke.run({ lock, token })).serverMs,
    (_, cause) =>
      incidents.report({
        code: 'LOCK_NOT_REVOKED',
        source: 'lock.redis',
        message: 'a lock that was given up could not be released yet; its lease ends by itself',
        cause,
      }),
  );
}
