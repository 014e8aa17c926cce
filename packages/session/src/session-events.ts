import type { Principal } from '@lockstep/core';

/**
 * What happened to a session, told in the process that did it. `expired` is best effort: a session that ran out is
 * noticed when its user's sessions are listed, counted or purged. `handle` is that of the session, never a secret.
 */
export type SessionEvent = {
  readonly handle: string;
  /** Undefined for a session of nobody, and where the process does not know. */
  readonly principal?: Principal | undefined;
} & (
  | { readonly type: 'created' | 'login' | 'renewed' | 'logout' | 'revoked' | 'evicted' | 'expired' }
  /** Changes of a request that found its session ended; they are lost, as they must be. */
  | { readonly type: 'dropped'; readonly attributes: readonly string[] }
);
