import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import { currentLease, DistributedLock, LockModule, type LockStore, MemoryLockStore } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { eventually, freePort } from '@lockstep/testing';
import { Controller, Get, type INestApplication, Module, Param } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterEach, describe, expect, it } from 'vitest';

let open: () => void = () => undefined;
let isRunning = false;

@Controller('stock')
class StockController {
  @Get(':sku')
  @DistributedLock({ key: (sku: string) => `sku:${sku}`, wait: 0, ttl: '5s' })
  async take(@Param('sku') sku: string): Promise<{ sku: string; fence: string | undefined }> {
    isRunning = true;
    await new Promise<void>((resolve) => {
      open = resolve;
    });
    isRunning = false;
    return { sku, fence: currentLease()?.fence.toString() };
  }
}

@Module({})
class Root {}

let app: INestApplication | undefined;
afterEach(async () => {
  open();
  await app?.close();
});

async function serve(store: LockStore | 'redis', imports: object[] = []): Promise<string> {
  const driver = store === 'redis' ? redisLockStore() : { useFactory: () => store };
  const modules = [...imports, LockModule.forRoot({ store: driver })];
  const root = { module: Root, controllers: [StockController], imports: modules as never[] };
  app = await NestFactory.create(root, { logger: false, abortOnError: false });
  await app.listen(0, '127.0.0.1');
  return app.getUrl();
}

describe('@DistributedLock on a route', () => {
  it('lets one request in and answers 423 with Retry-After to the next', async () => {
    const url = await serve(new MemoryLockStore());
    const first = fetch(`${url}/stock/42`);
    await eventually(() => expect(isRunning).toBe(true));
    const second = await fetch(`${url}/stock/42`);
    expect(second.status).toBe(423);
    expect(second.headers.get('retry-after')).toMatch(/^[1-5]$/);
    expect(await second.json()).toMatchObject({ code: 'LOCK_BUSY', kind: 'busy', retryable: true });
    open();
    expect(await (await first).json()).toMatchObject({ sku: '42', fence: expect.stringMatching(/^\d{16}$/) });
  });

  it('answers 503 with Retry-After while the store is down', async () => {
    const store = new MemoryLockStore();
    store.acquire = () =>
      Promise.reject(new StoreUnavailableError({ store: 'redis', operation: 'lock.acquire', outcome: 'unknown' }));
    const answer = await fetch(`${await serve(store)}/stock/42`);
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(await answer.json()).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(isRunning).toBe(false);
  });

  it('starts while Redis is down, and answers 503 until it is there', async () => {
    const url = `redis://127.0.0.1:${await freePort()}`;
    const redis = RedisModule.forRoot({ url, namespace: 'down', commandTimeout: '100ms' });
    const answer = await fetch(`${await serve('redis', [redis])}/stock/42`);
    expect(answer.status).toBe(503);
  });

  it('answers 500 to a key that no lock can have, and does not run', async () => {
    const answer = await fetch(`${await serve(new MemoryLockStore())}/stock/a%0Ab`);
    expect(answer.status).toBe(500);
    expect(await answer.json()).toMatchObject({ code: 'LOCK_KEY_INVALID' });
    expect(isRunning).toBe(false);
  });

  it('fails at boot when LockModule is not imported', async () => {
    const root = { module: Root, controllers: [StockController] };
    await expect(
      NestFactory.create(root, { logger: false, abortOnError: false }).then((made) => made.init()),
    ).rejects.toThrow(/LockService/);
  });

  it('fails where it is written when an option is wrong', () => {
    for (const key of [undefined, 'sku']) {
      expect(() => DistributedLock({ key: key as unknown as () => string })).toThrow(
        "Option '@DistributedLock key' is",
      );
    }
    expect(() => DistributedLock({ key: () => 'k', ttl: 1 })).toThrow("Option 'ttl' is 1");
  });
});
