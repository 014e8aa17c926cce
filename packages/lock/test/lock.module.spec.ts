import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import {
  LOCK_STORE,
  LockModule,
  type LockOptions,
  LockReentryError,
  LockService,
  MemoryLockStore,
} from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { Logger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it, vi } from 'vitest';
import { startLockApp } from './support/lock-app.js';

describe('the module', () => {
  it('needs no options, and warns at boot that its locks hold in one process only', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    const module = await Test.createTestingModule({ imports: [LockModule.forRoot()] }).compile();
    expect(await module.get(LockService).tryAcquire('k')).toMatchObject({ key: 'k' });
    expect(warn).toHaveBeenCalledWith(expect.stringContaining('within this process only'));
    warn.mockRestore();
    await module.close();
  });

  it('names what a store in Redis lacks', async () => {
    await expect(startLockApp({}, redisLockStore())).rejects.toThrow(
      new ConfigurationError('redisLockStore() needs RedisModule.forRoot(…) among the imports.'),
    );
  });

  it('leaves the word to RedisModule where that one is set up wrongly', async () => {
    const redis = RedisModule.forRoot({ url: 'http://x', namespace: 'n' });
    await expect(startLockApp({}, redisLockStore(), [redis])).rejects.toThrow("Option 'url' is 'http://x'");
  });

  it.each(['store', 'stores', 'tll'])(
    "does not start with a '%s' that the factory gives and nobody would obey",
    async (name) => {
      const options = { [name]: { useFactory: () => new MemoryLockStore() } };
      const imports = [LockModule.forRootAsync({ useFactory: () => options })];
      await expect(Test.createTestingModule({ imports }).compile()).rejects.toThrow(
        `'LockModule.${name}' is not known`,
      );
    },
  );
});

describe('named stores', () => {
  const MEMORY = { useFactory: () => new MemoryLockStore() };

  it('keep their locks apart from those of the others, also for code that holds the same key in one', async () => {
    const { app, locks } = await startLockApp({ wait: 0 }, MEMORY, [], { day: MEMORY, night: MEMORY });
    await locks.using('k', { store: 'day' }, async (day) => {
      await locks.using('k', { store: 'night' }, async (night) => expect(night.token).not.toBe(day.token));
      await locks.using('k', { store: 'day' }, async (again) => expect(again.token).toBe(day.token));
      await locks.using(['k', 'l'], { store: 'day' }, async (set) => expect(set.of('k').token).toBe(day.token));
      expect((await locks.inspect('k')).holders).toEqual([]);
    });
    await app.close();
  });

  it('are made from what they inject', async () => {
    const store = new MemoryLockStore();
    const made: unknown[] = [];
    const injecting = {
      inject: [LOCK_STORE],
      useFactory: (injected: unknown) => {
        made.push(injected);
        return new MemoryLockStore();
      },
    };
    const { app } = await startLockApp({}, { useFactory: () => store }, [], { other: injecting });
    expect(made).toEqual([store]);
    await app.close();
  });

  it('that a call names but the module has not are an error that names those it has', async () => {
    const { app, locks } = await startLockApp({}, MEMORY, [], { day: MEMORY, night: MEMORY });
    for (const call of [
      locks.acquire('k', { store: 'zk' }),
      locks.tryAcquire('k', { store: 'zk' }),
      locks.acquireAll(['k'], { store: 'zk' }),
      locks.using('k', { store: 'zk' }, async () => 1),
    ]) {
      await expect(call).rejects.toThrow(
        "Option 'store' is 'zk'; expected one of the `stores` of LockModule (day, night)",
      );
    }
    await app.close();
  });

  it('give their locks back at shutdown', async () => {
    const night = new MemoryLockStore();
    const { app, locks } = await startLockApp({}, MEMORY, [], { night: { useFactory: () => night } });
    const { signal } = await locks.acquire('k', { store: 'night' });
    await app.close();
    expect(signal.reason).toMatchObject({ loss: 'shutdown' });
    expect((await night.inspect('k')).holders).toEqual([]);
  });

  it.each([
    ['null', null, "Option 'stores' is null"],
    ['an object without a factory', { zk: {} }, "Option 'stores.zk' is {}"],
    ['a store itself', { zk: new MemoryLockStore() }, "Option 'stores.zk' is MemoryLockStore"],
  ])('that are no drivers but %s fail at boot, by name', (_, stores, message) => {
    expect(() => LockModule.forRoot({ stores: stores as never })).toThrow(message);
  });
});

describe('the options of a call', () => {
  it.each<[string, LockOptions]>([
    ['ttl', { ttl: 99 }],
    ['ttl', { ttl: '25h' }],
    ['ttl', { ttl: Number.POSITIVE_INFINITY }],
    ['wait', { wait: -1 }],
    ['wait', { wait: '2d' }],
    ['reentrant', { reentrant: 'no' as never }],
    ['fairness', { fairness: 'lifo' as never }],
    ['mode', { mode: 'shared' as never }],
    ['mode', { mode: null as never }],
    ['mode', { mode: { permits: 0 } }],
    ['mode', { mode: { permits: 1.5 } }],
    ['mode', { mode: { permits: 1_000_001 } }],
    ['minHold', { minHold: 'soon' as never }],
    ['minHold', { minHold: '25h' }],
    ['minHold', { minHold: '2s', maxHold: '1s' }],
    ['maxHold', { maxHold: 0 }],
    ['maxHold', { maxHold: Number.POSITIVE_INFINITY }],
    ['store', { store: 7 as never }],
    ['signal', { signal: 'stop' as never }],
  ])('name %s when it is wrong: %j', async (option, options) => {
    const { app, locks } = await startLockApp();
    await expect(locks.acquire('k', options)).rejects.toThrow(`Option '${option}' is`);
    await expect(locks.using(['k'], options, async () => 1)).rejects.toThrow(ConfigurationError);
    expect((await locks.inspect('k')).holders).toEqual([]);
    await app.close();
  });

  it('are those of the module where they are not given, or undefined', async () => {
    const { app, locks } = await startLockApp({ ttl: '1h', wait: '1h', reentrant: false, fairness: 'barging' });
    await locks.using('k', { ttl: undefined as never }, async (lease) => {
      expect(lease.deadline - performance.now()).toBeGreaterThan(3_000_000);
      await expect(locks.acquire('k')).rejects.toThrow(LockReentryError);
      await locks.acquire('k', { reentrant: true });
    });
    await locks.acquire('k');
    expect(await locks.tryAcquire('k', { wait: undefined as never })).toBeUndefined();
    await app.close();
  });
});
