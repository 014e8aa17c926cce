import { type RedisCommandCounter, type RedisServer, redisCommandCounter, startRedis } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

describe('redisCommandCounter()', () => {
  let server: RedisServer;
  let client: Redis;
  let counter: RedisCommandCounter;
  beforeAll(async () => {
    server = await startRedis();
    client = new Redis(server.url);
    await client.ping();
    counter = await redisCommandCounter(server.url);
  });
  afterAll(async () => {
    counter.stop();
    client.disconnect();
    await server.stop();
  });

  it('counts what travelled and nothing that a script ran', async () => {
    await counter.reset();
    await client.set('a', '1');
    await client.eval("redis.call('INCR', KEYS[1]); return redis.call('GET', KEYS[1])", 1, 'a');
    await client.get('a');
    expect(await counter.commands()).toEqual(['SET', 'EVAL', 'GET']);
  });

  it('counts every command of a pipeline and of a transaction', async () => {
    await counter.reset();
    await client.pipeline().set('a', '1').get('a').exec();
    await client.multi().incr('a').incr('a').exec();
    expect(await counter.counts()).toEqual({ SET: 1, GET: 1, MULTI: 1, INCR: 2, EXEC: 1 });
  });

  it('has seen every command that was answered before it was asked, however many', async () => {
    for (let round = 0; round < 5; round += 1) {
      await counter.reset();
      const pipeline = client.pipeline();
      for (let index = 0; index < 4000; index += 1) pipeline.incr('b');
      await pipeline.exec();
      expect(await counter.counts()).toEqual({ INCR: 4000 });
    }
  });

  it('can look at one client only', async () => {
    const other = new Redis(server.url);
    await other.ping();
    const { localAddress, localPort } = other.stream as unknown as { localAddress: string; localPort: number };
    const only = await redisCommandCounter(server.url, { clients: [`${localAddress}:${localPort}`] });
    await client.set('a', '1');
    await other.get('a');
    expect(await only.commands()).toEqual(['GET']);
    only.stop();
    other.disconnect();
  });
});
