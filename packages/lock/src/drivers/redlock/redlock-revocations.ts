import type { Incidents } from '@lockstep/core';
import { type Revocable, Revocations } from '../revocations.js';
import type { RedlockNode } from './redlock-node.js';
import type { LockKeys } from './redlock-scripts.js';

/** A vote that must not stand, though the request for it may still be on its way. */
export interface Revocation extends Revocable {
  readonly node: RedlockNode;
  readonly keys: LockKeys;
  /** `token|round|`, or `token|` for whatever the token has. */
  readonly vote: string;
}

export type RedlockRevocations = Revocations<Revocation>;

/** Takes votes back behind the back of whoever asked for them: from nodes that were not needed, too slow, or away. */
export function redlockRevocations(incidents: Incidents): RedlockRevocations {
  return new Revocations<Revocation>(
    async ({ node, keys, vote }) => (await node.scripts.release.run({ keys, vote })).serverMs,
    ({ node }, cause) =>
      incidents.report({
        code: 'LOCK_NOT_REVOKED',
        source: 'lock.redlock',
        message: 'a vote could not be taken back yet; it ends with its lease',
        cause,
        fields: { node: node.name },
      }),
  );
}
