import 'reflect-metadata';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { describeEpochStoreContract } from '@lockstep/session/contract';
import { RedisEpochStore } from '@lockstep/session/redis';
import { MemoryEpochStore } from '@lockstep/session/sealed';
import { useRedis } from '@lockstep/testing/vitest';
import type { INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const server = useRedis();

async function connect(): Promise<{ app: INestApplicationContext; redis: RedisConnection }> {
  const imports = [RedisModule.forRoot({ url: server.url, namespace: server.prefix })];
  const app = await (await Test.createTestingModule({ imports }).compile()).init();
  return { app, redis: app.get(RedisConnection) };
}

describeEpochStoreContract({ name: 'memory', open: async () => ({ store: new MemoryEpochStore() }) });

describeEpochStoreContract({
  name: 'redis',
  open: async () => {
    const { app, redis } = await connect();
    return { store: new RedisEpochStore(redis), close: () => app.close() };
  },
});

describe('MemoryEpochStore', () => {
  it('gives higher epochs even while its clock stands', async () => {
    const store = new MemoryEpochStore({ nowMs: () => 1 });
    const epochs = [await store.bump('u', 10), await store.bump('u', 10), await store.bump('u', 10)];
    expect(epochs).toEqual([1_000, 1_001, 1_002]);
  });

  it('does not grow by epochs that are forgotten', async () => {
    let now = 0;
    const store = new MemoryEpochStore({ nowMs: () => now });
    for (let count = 0; count < 2_560; count += 1) {
      now += 10;
      await store.bump(`u${count}`, 5);
    }
    expect((store as unknown as { epochs: Map<string, unknown> }).epochs.size).toBeLessThanOrEqual(256);
  });
});

describe('RedisEpochStore', () => {
  let app: INestApplicationContext;
  let redis: RedisConnection;
  let client: Redis;
  let store: RedisEpochStore;
  beforeAll(async () => {
    ({ app, redis } = await connect());
    client = new Redis(server.url);
    store = new RedisEpochStore(redis);
  });
  afterAll(async () => {
    client.disconnect();
    await app.close();
  });

  it('keeps one string per user, under its group, that ends by itself', async () => {
    const epoch = await store.bump('u-one', 60_000);
    const key = `${server.prefix}:session-epoch:{u-one}`;
    expect(await client.get(key)).toBe(String(epoch));
    expect(await client.pttl(key)).toBeGreaterThan(50_000);
  });

  it('keeps rising when the server’s clock is behind what it gave out', async () => {
    const ahead = 8_000_000_000_000_000;
    await client.set(`${server.prefix}:session-epoch:{u-ahead}`, String(ahead), 'PX', 60_000);
    expect(await store.bump('u-ahead', 60_000)).toBe(ahead + 1);
  });

  it('takes what is no epoch for a failure, never for none', async () => {
    await client.set(`${server.prefix}:session-epoch:{u-odd}`, 'odd', 'PX', 60_000);
    await expect(store.read('u-odd')).rejects.toThrow();
  });
});
