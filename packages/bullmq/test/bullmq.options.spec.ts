import 'reflect-metadata';
import { type BullmqTransportOptions, bullmqRetryScheduler, bullmqTransport } from '@lockstep/bullmq';
import { CoreModule, RETRY_SCHEDULER } from '@lockstep/core';
import { MESSAGE_TRANSPORT } from '@lockstep/outbox';
import { useRedis } from '@lockstep/testing/vitest';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';

describe('options', () => {
  const redis = { url: 'redis://127.0.0.1:1' };
  const wrong: [string, unknown, RegExp][] = [
    ['neither server', {}, /exactly one/],
    ['both servers', { redis, postgres: { url: 'postgres://x' } }, /exactly one/],
    ['a URL of something else', { redis: { url: 'http://x' } }, /'redis.url' is 'http:\/\/x'/],
    ['a Cluster', { redis: { connection: { duplicate: () => undefined, isCluster: true } } }, /Cluster/],
    ['a namespace with a colon', { redis, namespace: 'a:b' }, /'namespace' is 'a:b'/],
    ['a schema that must be quoted', { postgres: { url: 'postgres://x', schema: 'a"b' } }, /'postgres.schema'/],
    ['nothing', undefined, /'bullmq options' is undefined/],
    ['no server in redis', { redis: {} }, /'redis' is an object without properties; expected .*'url' or 'connection'/],
    [
      'no server in postgres',
      { postgres: {} },
      /'postgres' is an object without properties; expected .*'url' or 'pool'/,
    ],
    ['a URL in place of the server', { redis: 'redis://h' }, /'redis' is 'redis:\/\/h'/],
    ['a URL that is none', { postgres: { url: 5 } }, /'postgres.url' is 5/],
    ['an empty batch', { redis, batchSize: 0 }, /'batchSize' is 0/],
    ['a lock that lasts no time', { redis, lockDuration: '1ms' }, /'lockDuration'/],
  ];

  it.each(wrong)('%s is refused when the module is put together, naming the option', (_, options, message) => {
    expect(() => bullmqTransport(options as BullmqTransportOptions)).toThrow(message);
  });

  const secret = 'PASSW0RD';
  const leaky: [string, unknown, RegExp][] = [
    ['no scheme', { redis: { url: `user:${secret}@host` } }, /'redis.url' is '\*\*\*@host'/],
    ['another scheme', { postgres: { url: `mysql://user:${secret}@host` } }, /'mysql:\/\/\*\*\*@host'/],
    ['a wrong port', { redis: { url: `redis://user:a@${secret}@host:port` } }, /'redis:\/\/\*\*\*@host:port'/],
    ['no host', { redis: { url: `redis://:${secret}` } }, /'redis.url' is 'redis:\/\/\*\*\*'/],
    ['a query', { postgres: { url: `x?password=${secret}` } }, /'x\?\*\*\*'/],
    ['a URL in place of the server', { redis: `redis://user:${secret}@host` }, /'redis:\/\/\*\*\*@host'/],
    ['settings in place of a client', { redis: { connection: { password: secret } } }, /is an object with password/],
    ['settings in place of a pool', { postgres: { pool: { password: secret } } }, /is an object with password/],
    ['settings in place of the server', { postgres: { host: 'h', password: secret } }, /with host, password/],
  ];

  it.each(leaky)('no password is shown where there is %s', (_, options, message) => {
    const resolve = () => bullmqTransport(options as BullmqTransportOptions);
    expect(resolve).toThrow(message);
    expect(resolve).not.toThrow(secret);
  });

  it.each(['postgres://u@/db?host=/run', 'postgresql://u:p%40@h:5432/db'])('%s is a URL of Postgres', (url) => {
    expect(() => bullmqTransport({ postgres: { url } })).not.toThrow();
  });

  it('too many attempts of a wake-up are refused', () => {
    expect(() => bullmqRetryScheduler({ redis, attempts: 1_000 })).toThrow(/'attempts' is 1000/);
  });
});

describe('in an application', () => {
  const redis = useRedis();

  it('both drivers are made by Nest and end with it', async () => {
    const options = { redis: { url: redis.url }, namespace: redis.prefix };
    const module = await Test.createTestingModule({
      imports: [CoreModule],
      providers: [
        { provide: MESSAGE_TRANSPORT, ...provider(bullmqTransport(options)) },
        { provide: RETRY_SCHEDULER, ...provider(bullmqRetryScheduler(options)) },
      ],
    }).compile();
    await module.init();
    const transport = module.get(MESSAGE_TRANSPORT);
    const route = { topic: 'orders', consumer: 'nobody' };
    await expect(transport.publish(route, [])).resolves.toEqual([]);
    await module.close();
    const message = { id: 'x1', topic: 'orders', key: undefined, payload: '1', headers: {}, publishedAt: 1 };
    await expect(transport.publish(route, [message])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });
});

/** Nest wants a mutable list of what is injected. */
function provider<Driver extends { readonly inject?: readonly unknown[] }>({ inject = [], ...driver }: Driver) {
  return { ...driver, inject: [...inject] as never[] };
}
