import 'reflect-metadata';
import { DrainService, StoreUnavailableError } from '@lockstep/core';
import { DistributedLock, LockModule, LockService } from '@lockstep/lock';
import { Controller, Get, type INestApplication, Inject, Module, Param } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScriptedStore } from './support/scripted-store.js';

@Controller('stock')
class StockController {
  constructor(@Inject(LockService) private readonly locks: LockService) {}

  @Get(':sku')
  @DistributedLock({ key: (sku: string) => `sku:${sku}`, wait: 0, ttl: '5s' })
  async take(@Param('sku') sku: string): Promise<object> {
    if (sku === 'disputed') await this.locks.forceRelease(`sku:${sku}`);
    return { sku };
  }
}

@Module({})
class Root {}

describe.each(['Express', 'Fastify'])('an answer of %s', (platform) => {
  let store: ScriptedStore;
  let app: INestApplication;
  beforeEach(async () => {
    store = new ScriptedStore();
    const locks = LockModule.forRoot({ store: { useFactory: () => store } });
    const root = { module: Root, controllers: [StockController], imports: [locks] };
    const adapter = platform === 'Express' ? new ExpressAdapter() : new FastifyAdapter();
    app = await NestFactory.create(root, adapter, { logger: false, abortOnError: false });
    await app.listen(0, '127.0.0.1');
  });
  afterEach(() => app.close());

  async function ask(sku: string): Promise<{ status: number; type: string; retryAfter: string | null; body: object }> {
    const answer = await fetch(`${await app.getUrl()}/stock/${sku}`);
    const { status, headers } = answer;
    const type = headers.get('content-type') ?? '';
    return { status, type, retryAfter: headers.get('retry-after'), body: (await answer.json()) as object };
  }

  it('is that of the method while its lock is had', async () => {
    expect(await ask('42')).toMatchObject({ status: 200, retryAfter: null, body: { sku: '42' } });
  });

  it('is 423 with the rest of the lease as Retry-After when another holds the lock', async () => {
    await app.get(LockService).acquire('sku:42', { ttl: '30s' });
    expect(await ask('42')).toMatchObject({
      status: 423,
      type: expect.stringContaining('application/problem+json'),
      retryAfter: expect.stringMatching(/^(29|30)$/),
      body: { code: 'LOCK_BUSY', kind: 'busy', retryable: true },
    });
  });

  it('is 423 with a second as Retry-After where the store does not know the rest', async () => {
    store.onAcquire = async () => ({ status: 'busy', remainingMs: 0 });
    expect(await ask('42')).toMatchObject({ status: 423, retryAfter: '1', body: { code: 'LOCK_BUSY' } });
  });

  it('is 503 with Retry-After when the store does not answer, and the method did not run', async () => {
    store.onAcquire = () =>
      Promise.reject(new StoreUnavailableError({ store: 'redis', operation: 'lock.acquire', outcome: 'unknown' }));
    expect(await ask('42')).toMatchObject({
      status: 503,
      type: expect.stringContaining('application/problem+json'),
      retryAfter: '1',
      body: { code: 'STORE_UNAVAILABLE', kind: 'unavailable', outcome: 'not-applied', retryable: true },
    });
  });

  it('is 500 with an unknown outcome when the lock was lost while the method ran', async () => {
    expect(await ask('disputed')).toMatchObject({
      status: 500,
      type: expect.stringContaining('application/problem+json'),
      retryAfter: null,
      body: { code: 'LOCK_LOST', kind: 'unknown', retryable: false, loss: 'stolen' },
    });
  });

  it('is 503 with Retry-After while the application shuts down', async () => {
    await app.get(DrainService).onApplicationShutdown();
    expect(await ask('42')).toMatchObject({
      status: 503,
      retryAfter: '1',
      body: { code: 'LOCK_SHUTTING_DOWN', kind: 'unavailable', retryable: true },
    });
  });
});
