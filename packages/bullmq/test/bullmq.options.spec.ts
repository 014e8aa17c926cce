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
    ['an empty batch', { redis, batchSize: 0 }, /'batchSize' is 0/],
    ['a lock that lasts no time', { redis, lockDuration: '1ms' }, /'lockDuration'/],
  ];

  it.each(wrong)('%s is refused when the module is put together, naming the option', (_, options, message) => {
    expect(() => bullmqTransport(options as BullmqTransportOptions)).toThrow(message);
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
