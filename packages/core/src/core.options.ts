import { Keyring, type KeyringOptions } from './context/keyring.js';
import { type Duration, durationMs } from './duration.js';

/** What concerns the application as a whole. */
export interface LockstepModuleOptions {
  /** Signs what travels through other hands, such as the principal of a message. Without it no principal travels. */
  readonly keyring?: KeyringOptions;
  /** How long each phase of a shutdown may take. @default '10s' */
  readonly drainTimeout?: Duration;
}

export interface ResolvedCoreOptions {
  readonly keyring: Keyring | undefined;
  readonly drainTimeoutMs: number;
}

export const CORE_OPTIONS = Symbol('@lockstep/core:CORE_OPTIONS');

/** @throws ConfigurationError naming the option and its value */
export function resolveCoreOptions(options: LockstepModuleOptions): ResolvedCoreOptions {
  return Object.freeze({
    keyring: options.keyring && new Keyring(options.keyring),
    drainTimeoutMs: durationMs(options.drainTimeout ?? '10s', 'drainTimeout', { minMs: 1, maxMs: 600_000 }),
  });
}
