import 'reflect-metadata';
import { createRequire } from 'node:module';
import type { DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { type Bench, type Contestant, closedLoop } from '../harness/contestant.js';
import { keyOf, TTL_MS } from './lock-keys.js';

// Two of the peers ship no types that NodeNext finds: each is described by the few members that are used here.
const require = createRequire(import.meta.url);

interface Redlock {
  acquire(keys: string[], ttlMs: number): Promise<{ release(): Promise<unknown> }>;
}
type RedlockClass = new (clients: unknown[], settings: { retryCount: number }) => Redlock;

interface RedisSemaphore {
  readonly Mutex: new (
    client: unknown,
    key: string,
    options: { lockTimeout: number; refreshInterval: number },
  ) => { acquire(): Promise<void>; release(): Promise<void> };
}
interface RedlockUniversal {
  readonly IoredisAdapter: new (client: unknown) => object;
  readonly createLock: (config: { adapter: object; key: string; ttl: number }) => {
    acquire(): Promise<object>;
    release(handle: object): Promise<boolean>;
  };
}
interface Murlock {
  readonly MurLockModule: { forRoot(options: object): DynamicModule };
  readonly MurLockService: new () => {
    runWithLock(key: string, releaseTimeMs: number, fn: () => Promise<void>): Promise<void>;
  };
}

/** One acquire and one release of a free key, as the library documents it. */
type AcquireAndRelease = (key: string) => Promise<void>;

export function lockPeers(url: string, concurrency: number): Contestant[] {
  const overIoredis = (name: string, make: (client: Redis) => AcquireAndRelease): Contestant => ({
    name,
    open: async () => {
      const client = new Redis(url);
      return bench(concurrency, name, make(client), async () => {
        await client.quit();
      });
    },
  });
  return [
    overIoredis('redlock', (client) => redlock('redlock', client)),
    overIoredis('@sesamecare-oss/redlock', (client) => redlock('@sesamecare-oss/redlock', client)),
    overIoredis('redis-semaphore', redisSemaphore),
    overIoredis('redlock-universal', redlockUniversal),
    { name: 'murlock', open: () => openMurlock(url, concurrency) },
  ];
}

function bench(
  concurrency: number,
  name: string,
  acquireAndRelease: AcquireAndRelease,
  close: () => Promise<void>,
): Bench {
  return {
    run: (sliceMs) => closedLoop(concurrency, sliceMs, (worker) => acquireAndRelease(keyOf(name, worker))),
    close,
  };
}

function redlock(name: string, client: Redis): AcquireAndRelease {
  const module = require(name) as { default?: RedlockClass; Redlock?: RedlockClass };
  const Class = module.Redlock ?? module.default;
  if (Class === undefined) throw new Error(`${name} exports no class`);
  const locks = new Class([client], { retryCount: 0 });
  return async (key) => {
    const lock = await locks.acquire([key], TTL_MS);
    await lock.release();
  };
}

function redisSemaphore(client: Redis): AcquireAndRelease {
  const { Mutex } = require('redis-semaphore') as RedisSemaphore;
  return async (key) => {
    const mutex = new Mutex(client, key, { lockTimeout: TTL_MS, refreshInterval: 0 });
    await mutex.acquire();
    await mutex.release();
  };
}

function redlockUniversal(client: Redis): AcquireAndRelease {
  const { IoredisAdapter, createLock } = require('redlock-universal') as RedlockUniversal;
  const adapter = new IoredisAdapter(client);
  return async (key) => {
    const lock = createLock({ adapter, key, ttl: TTL_MS });
    await lock.release(await lock.acquire());
  };
}

/** Brings its own node-redis client and can be had only through its Nest module. */
async function openMurlock(url: string, concurrency: number): Promise<Bench> {
  const { MurLockModule, MurLockService } = require('murlock') as Murlock;
  const options = { redisOptions: { url }, wait: 100, maxAttempts: 1, logLevel: 'none' };
  const app = await NestFactory.createApplicationContext(MurLockModule.forRoot(options), { logger: ['error'] });
  const locks = app.get(MurLockService);
  const acquireAndRelease = (key: string) => locks.runWithLock(key, TTL_MS, async () => undefined);
  return bench(concurrency, 'murlock', acquireAndRelease, () => app.close());
}
