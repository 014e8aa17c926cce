import 'reflect-metadata';
import { LockModule, LockService } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import type { DynamicModule, INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type Locker, type LockLibrary, TTL_MS } from './locker.js';

/** Acquire and release through the service, fence, deadline and loss signal included. */
export const ours: LockLibrary = {
  name: 'ours',
  open: async ([url], patienceMs) => serviceLocker(await lockApplication(String(url)), patienceMs),
};

/** The locks of an application; closing the locker closes the application. */
export function serviceLocker(app: INestApplicationContext, patienceMs?: number): Locker {
  const locks = app.get(LockService);
  const options = patienceMs === undefined ? { ttl: TTL_MS } : { ttl: TTL_MS, wait: patienceMs };
  return {
    hold: async (key, work) => {
      const lease = await locks.acquire(key, options);
      try {
        await work();
      } finally {
        await lease.release();
      }
    },
    close: () => app.close(),
  };
}

export function lockApplication(url: string): Promise<INestApplicationContext> {
  return application([
    RedisModule.forRoot({ url, namespace: 'bench' }),
    LockModule.forRoot({ store: redisLockStore() }),
  ]);
}

class BenchModule {}

export function application(imports: DynamicModule[]): Promise<INestApplicationContext> {
  return NestFactory.createApplicationContext({ module: BenchModule, imports }, { logger: ['error'] });
}
