import 'reflect-metadata';
import { LockModule, LockService } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type Contestant, closedLoop } from '../harness/contestant.js';
import { keyOf, TTL_MS } from './lock-keys.js';

/** Acquire and release through the service, fence, deadline and loss signal included. */
export function ourLock(url: string, concurrency: number): Contestant {
  return {
    name: 'ours',
    open: async () => {
      const app = await lockApplication(url);
      const locks = app.get(LockService);
      const operation = async (worker: number): Promise<void> => {
        const lease = await locks.acquire(keyOf('ours', worker), { ttl: TTL_MS });
        await lease.release();
      };
      return { run: (sliceMs) => closedLoop(concurrency, sliceMs, operation), close: () => app.close() };
    },
  };
}

class BenchModule {}

export function lockApplication(url: string): Promise<INestApplicationContext> {
  const imports = [RedisModule.forRoot({ url, namespace: 'bench' }), LockModule.forRoot({ store: redisLockStore() })];
  return NestFactory.createApplicationContext({ module: BenchModule, imports }, { logger: ['error'] });
}
