import { checkedDriver, type DriverProvider } from '@lockstep/core';
import { Logger } from '@nestjs/common';
import type { EpochStore } from '../../epoch-store.js';
import type { KeepingDriver } from '../../keeping/session-keeping.js';
import { MemoryEpochStore, type MemoryEpochStoreOptions } from '../memory/memory-epoch-store.js';
import { resolveSealedCookieOptions, type SealedCookieOptions } from './sealed-cookie.options.js';
import { SealedSessions } from './sealed-sessions.js';

export type { EpochStore } from '../../epoch-store.js';
export { MemoryEpochStore, type MemoryEpochStoreOptions } from '../memory/memory-epoch-store.js';
export type { SealedCookieOptions } from './sealed-cookie.options.js';

/**
 * Sessions that are kept by their clients, encrypted in the cookie: no store, and no server-side revocation but
 * `revokeAll` by `epochs`. Requests side by side lose updates of each other, `update()` is not atomic, and a copy of a
 * cookie outlives logout and rotate.
 *
 * @throws ConfigurationError naming the option and its value
 */
export function sealedCookieStore(options: SealedCookieOptions = {}): DriverProvider<KeepingDriver> {
  const resolved = resolveSealedCookieOptions(options);
  if (options.epochs === undefined) {
    return { useFactory: () => ({ open: (host) => new SealedSessions(host, resolved, undefined) }) };
  }
  const { inject, useFactory } = checkedDriver('epochs', options.epochs);
  return {
    inject,
    useFactory: async (...dependencies: unknown[]) => {
      const epochs = await useFactory(...dependencies);
      return { open: (host) => new SealedSessions(host, resolved, epochs) };
    },
  };
}

/** Revocation epochs in the memory of this process. Right for one process only, which is said at boot. */
export function memoryEpochStore(options: MemoryEpochStoreOptions = {}): DriverProvider<EpochStore> {
  return {
    useFactory: () => {
      new Logger('Lockstep').warn(
        '@lockstep/session keeps its revocation epochs in memory: right for one process only, and gone after a ' +
          'restart, when sessions that were revoked are good again. Set `epochs` of sealedCookieStore() for more.',
      );
      return new MemoryEpochStore(options);
    },
  };
}
