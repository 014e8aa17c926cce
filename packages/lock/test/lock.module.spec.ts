import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import { LockModule, LockService } from '@lockstep/lock';
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
});
