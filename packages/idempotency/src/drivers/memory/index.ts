import type { DriverProvider } from '@lockstep/core';
import { Logger } from '@nestjs/common';
import type { IdempotencyStore } from '../../idempotency-store.js';
import { MemoryIdempotencyStore, type MemoryIdempotencyStoreOptions } from './memory-idempotency-store.js';

/** Records in the memory of this process. The default, and right for one process only, which is said at boot. */
export function memoryIdempotencyStore(options: MemoryIdempotencyStoreOptions = {}): DriverProvider<IdempotencyStore> {
  return {
    useFactory: () => {
      new Logger('Lockstep').warn(
        '@lockstep/idempotency keeps its records in memory: right for one process only, and gone after a restart. ' +
          'Set `store` of IdempotencyModule for more.',
      );
      return new MemoryIdempotencyStore(options);
    },
  };
}
