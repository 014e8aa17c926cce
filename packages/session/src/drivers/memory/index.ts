import type { DriverProvider } from '@lockstep/core';
import { Logger } from '@nestjs/common';
import type { SessionStore } from '../../session-store.js';
import { MemorySessionStore, type MemorySessionStoreOptions } from './memory-session-store.js';

/** Sessions in the memory of this process. The default, and right for one process only, which is said at boot. */
export function memorySessionStore(options: MemorySessionStoreOptions = {}): DriverProvider<SessionStore> {
  return {
    useFactory: () => {
      new Logger('Lockstep').warn(
        '@lockstep/session keeps its sessions in memory: right for one process only, and gone after a restart. ' +
          'Set `store` of SessionModule for more.',
      );
      return new MemorySessionStore(options);
    },
  };
}
