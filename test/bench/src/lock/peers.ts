import 'reflect-metadata';
import { createRequire } from 'node:module';
import type { DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { type Locker, type LockLibrary, TTL_MS } from './locker.js';

// Two of the peers ship no types that NodeNext finds: each is described by the few members that are used here.
const require = createRequire(import.meta.url);

interface Redlock {
  acquire(keys: string[], ttlMs: number): Promise<{ release(): Promise<unknown> }>;
}
type RedlockClass = new (clients: readonly unknown[], settings: { retryCount: number }) => Redlock;

interface Mutex {
  acquire(): Promise<void>;
  release(): Promise<void>;
}
interface MutexOptions {
  readonly lockTimeout: number;
  readonly refreshInterval: number;
  readonly acquireTimeout?: number;
}
interface RedisSemaphore {
  readonly Mutex: new (client: unknown, key: string, options: MutexOptions) => Mutex;
  readonly RedlockMutex: new (clients: readonly unknown[], key: string, options: MutexOptions) => Mutex;
}

interface UniversalLock {
  acquire(): Promise<object>;
  release(handle: object): Promise<boolean>;
}
interface UniversalConfig {
  readonly key: string;
  readonly ttl: number;
  readonly retryAttempts?: number;
}
interface RedlockUniversal {
  readonly IoredisAdapter: new (client: unknown) => object;
  readonly createLock: (config: UniversalConfig & { adapter: object }) => UniversalLock;
  readonly createRedlock: (config: UniversalConfig & { adapters: readonly object[] }) => UniversalLock;
}

interface RedisKitLock {
  readonly Redlock: new (
    clients: readonly unknown[],
    options: { maxRetryAttempts: number },
  ) => { acquire(key: string, ttlMs: number): Promise<{ release(): Promise<boolean> } | null> };
}

interface Murlock {
  readonly MurLockModule: { forRoot(options: object): DynamicModule };
  readonly MurLockService: new () => {
    runWithLock(key: string, releaseTimeMs: number, pauseMs: number, fn: () => Promise<void>): Promise<void>;
  };
}

/** More than anybody makes while a row runs. */
const ENDLESS_ATTEMPTS = 10_000;
/** murlock has no default pace; given with the call, it does not grow with each attempt. */
const MURLOCK_PAUSE_MS = 100;

/** Those that can also lock on a majority of independent servers. */
export const redlockPeers: readonly LockLibrary[] = [
  overIoredis('redlock', (clients, patienceMs) => redlock('redlock', clients, patienceMs)),
  overIoredis('@sesamecare-oss/redlock', (clients, patienceMs) =>
    redlock('@sesamecare-oss/redlock', clients, patienceMs),
  ),
  overIoredis('redis-semaphore', redisSemaphore),
  overIoredis('redlock-universal', redlockUniversal),
  { name: '@redis-kit/lock', group: 'NodeRedis', open: openRedisKit },
];

export const lockPeers: readonly LockLibrary[] = [
  ...redlockPeers,
  { name: 'murlock', group: 'NodeRedis', open: ([url], patienceMs) => openMurlock(String(url), patienceMs) },
];

/** Holds a lock as the library documents it. */
type Hold = Locker['hold'];

function overIoredis(
  name: string,
  make: (clients: readonly Redis[], patienceMs: number | undefined) => Hold,
): LockLibrary {
  return {
    name,
    group: 'Ioredis',
    open: async (urls, patienceMs) => {
      const clients = urls.map((url) => new Redis(url));
      const close = async (): Promise<void> => {
        await Promise.all(clients.map((client) => client.quit()));
      };
      return { hold: make(clients, patienceMs), close };
    },
  };
}

function redlock(name: string, clients: readonly Redis[], patienceMs: number | undefined): Hold {
  const module = require(name) as { default?: RedlockClass; Redlock?: RedlockClass };
  const Class = module.Redlock ?? module.default;
  if (Class === undefined) throw new Error(`${name} exports no class`);
  const locks = new Class(clients, { retryCount: patienceMs === undefined ? 0 : -1 });
  return async (key, work) => {
    const lock = await locks.acquire([key], TTL_MS);
    await work();
    await lock.release();
  };
}

function redisSemaphore(clients: readonly Redis[], patienceMs: number | undefined): Hold {
  const { Mutex, RedlockMutex } = require('redis-semaphore') as RedisSemaphore;
  const patience = patienceMs === undefined ? {} : { acquireTimeout: patienceMs };
  const options = { lockTimeout: TTL_MS, refreshInterval: 0, ...patience };
  return async (key, work) => {
    const mutex = clients.length === 1 ? new Mutex(clients[0], key, options) : new RedlockMutex(clients, key, options);
    await mutex.acquire();
    await work();
    await mutex.release();
  };
}

function redlockUniversal(clients: readonly Redis[], patienceMs: number | undefined): Hold {
  const { IoredisAdapter, createLock, createRedlock } = require('redlock-universal') as RedlockUniversal;
  const adapters = clients.map((client) => new IoredisAdapter(client));
  const [adapter] = adapters;
  const patience = patienceMs === undefined ? {} : { retryAttempts: ENDLESS_ATTEMPTS };
  return async (key, work) => {
    const config = { key, ttl: TTL_MS, ...patience };
    const lock =
      adapter !== undefined && adapters.length === 1
        ? createLock({ adapter, ...config })
        : createRedlock({ adapters, ...config });
    const handle = await lock.acquire();
    await work();
    await lock.release(handle);
  };
}

async function openRedisKit(urls: readonly string[], patienceMs: number | undefined): Promise<Locker> {
  const { Redlock } = require('@redis-kit/lock') as RedisKitLock;
  const clients = await Promise.all(urls.map((url) => createClient({ url }).connect()));
  const locks = new Redlock(clients, { maxRetryAttempts: patienceMs === undefined ? 0 : ENDLESS_ATTEMPTS });
  return {
    hold: async (key, work) => {
      const lock = await locks.acquire(key, TTL_MS);
      if (lock === null) throw new Error(`${key} is taken`);
      await work();
      await lock.release();
    },
    close: async () => {
      await Promise.all(clients.map((client) => client.close()));
    },
  };
}

/** Brings its own node-redis client and can be had only through its Nest module. */
async function openMurlock(url: string, patienceMs: number | undefined): Promise<Locker> {
  const { MurLockModule, MurLockService } = require('murlock') as Murlock;
  const maxAttempts = patienceMs === undefined ? 1 : ENDLESS_ATTEMPTS;
  const options = { redisOptions: { url }, wait: MURLOCK_PAUSE_MS, maxAttempts, logLevel: 'none' };
  const app = await NestFactory.createApplicationContext(MurLockModule.forRoot(options), { logger: ['error'] });
  const locks = app.get(MurLockService);
  return { hold: (key, work) => locks.runWithLock(key, TTL_MS, MURLOCK_PAUSE_MS, work), close: () => app.close() };
}
