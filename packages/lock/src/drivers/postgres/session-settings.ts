/** What would end a session, or a wait in it, though its client is there. */
const ENDLESS = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  transaction_timeout: '0',
};

const PROBE_S = 5;
const PROBES = 3;
/** More than this Linux refuses; then the user timeout alone, which outranks the probes, keeps the session. */
const LONGEST_IDLE_S = 32_767;

/** Leases of up to this length need no further setting. */
export const FIRST_COVER_MS = 10_000;

/**
 * How long the server keeps a session whose client has fallen silent: never less than `ttlMs` after it last heard of it,
 * and not much longer, for that is how long others wait when a machine dies without a word, or when a process stands
 * still whose machine answers for it.
 */
export function halfOpenSettings(ttlMs: number): Readonly<Record<string, string>> {
  const idleS = Math.ceil(ttlMs / 1_000) + 1;
  return {
    tcp_keepalives_idle: String(Math.min(idleS, LONGEST_IDLE_S)),
    tcp_keepalives_interval: String(PROBE_S),
    tcp_keepalives_count: String(PROBES),
    tcp_user_timeout: String((idleS + PROBE_S) * 1_000),
    // A session that waits for a lock is not idle.
    idle_session_timeout: String(longestSilenceMs(ttlMs)),
  };
}

/** How long a session may send nothing and have nothing to wait for. */
export function longestSilenceMs(ttlMs: number): number {
  return (Math.ceil(ttlMs / 1_000) + 1) * 1_000;
}

export function firstSettings(): Readonly<Record<string, string>> {
  return { ...ENDLESS, ...halfOpenSettings(FIRST_COVER_MS) };
}
