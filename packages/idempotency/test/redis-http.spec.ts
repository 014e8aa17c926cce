import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { IdempotencyService } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { eventually, type FaultProxy, type RedisCommandCounter, startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { countCommandsOf } from './support/count-commands.js';
import { type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { gate, OrdersController, runs } from './support/orders.controller.js';
import { OwnAnswersController } from './support/own-answers.controller.js';
import { StreamsController } from './support/streams.controller.js';
import { expectReplay } from './support/twice.js';

const server = useRedis();

describe.each(['express', 'fastify'] as const)('@Idempotent on Redis and %s', (platform) => {
  let http: HttpApp;
  let proxy: FaultProxy;
  let counter: RedisCommandCounter;

  const start = (): Promise<HttpApp> => {
    const redis = RedisModule.forRoot({
      url: proxy.urlFor(server.url),
      namespace: `${server.prefix}${platform}`,
      commandTimeout: '500ms',
    });
    return startHttpApp({
      platform,
      controllers: [OrdersController, OwnAnswersController, StreamsController],
      imports: [redis],
      store: redisIdempotencyStore(),
      options: { sweepEvery: '1h', lease: '5s' },
    });
  };

  beforeAll(async () => {
    proxy = await startFaultProxy({ target: server.url });
    http = await start();
    counter = await countCommandsOf(http.app.get(RedisConnection, { strict: false }), server.url);
    await post({ key: randomUUID() }); // the scripts are known from here on
  });
  beforeEach(() => runs.clear());
  afterAll(async () => {
    await http.close();
    counter.stop();
    await proxy.stop();
  });

  const post = (init: Parameters<typeof send>[1] = {}, path = '') =>
    send(`${http.url}/orders${path}`, { body: {}, ...init });

  it('costs two commands for the first call and one for each kind of repetition', async () => {
    const key = randomUUID();
    await counter.reset();
    expect((await post({ key })).status).toBe(201);
    expect(await counter.commands()).toEqual(['EVALSHA', 'EVALSHA']);
    await counter.reset();
    expect((await post({ key })).headers.get('idempotent-replayed')).toBe('true');
    expect(await counter.commands()).toEqual(['EVALSHA']);
    await counter.reset();
    expect((await post({ key, body: { sku: 'other' } })).status).toBe(422);
    expect(await counter.commands()).toEqual(['EVALSHA']);
    const name = `counted-${platform}`;
    const first = post({ key }, `/held/${name}`);
    await eventually(() => expect(runs.get(name)).toBe(1));
    await counter.reset();
    expect((await post({ key }, `/held/${name}`)).status).toBe(409);
    expect(await counter.commands()).toEqual(['EVALSHA']);
    gate(name).open();
    await first;
  });

  it.each([
    'own/ways/json',
    'own/ways/pieces',
    'own/ways/a%20pipe%20of%20known%20length',
    'streams/results/a%20file%20of%20a%20stream',
    'streams/results/a%20generator',
  ])('has what was sent for another process, byte by byte: %s', async (path) => {
    const other = await start();
    const key = randomUUID();
    const answers = [await send(`${http.url}/${path}`, { key }), await send(`${other.url}/${path}`, { key })] as const;
    expectReplay(answers);
    await other.close();
  });

  it('tells another process of an answer that was too large, which runs nothing', async () => {
    const other = await start();
    const key = randomUUID();
    expect((await send(`${http.url}/streams/large`, { key })).bytes).toHaveLength(300_000);
    const again = await send(`${other.url}/streams/large`, { key });
    expect(problem(again)).toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
    expect(runs.get('large-stream')).toBe(1);
    await other.close();
  });

  it('refuses a malformed, oversized or missing key without asking Redis', async () => {
    await counter.reset();
    for (const key of ['short', 'x'.repeat(256), 'two words and more words', undefined]) {
      expect((await post(key === undefined ? {} : { key })).status).toBe(400);
    }
    expect(await counter.commands()).toEqual([]);
  });

  it('answers 503 with Retry-After while Redis is away, never runs the handler, and recovers by itself', async () => {
    proxy.refuse();
    proxy.cut();
    const startedAt = performance.now();
    const answer = await post({ key: randomUUID() });
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    expect(problem(answer)).toMatchObject({ status: 503, code: 'STORE_UNAVAILABLE' });
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(runs.get('place')).toBeUndefined();
    await proxy.heal();
    await eventually(async () => expect((await post({ key: randomUUID() })).status).toBe(201));
  });

  it('frees the key of a request whose claim took effect but whose answer was lost', async () => {
    const key = randomUUID();
    proxy.blackhole({ direction: 'toClient' });
    expect((await post({ key })).status).toBe(503);
    await proxy.heal();
    const answer = await eventually(async () => {
      const retried = await post({ key });
      expect(retried.status).toBe(201);
      return retried;
    });
    expect(problem(answer)).toMatchObject({ times: 1 });
    expect(await http.app.get(IdempotencyService).listUncertain()).toEqual([]);
  });

  it('sends the real answer when the store does not answer afterwards, and stores it as soon as it does', async () => {
    const key = randomUUID();
    const name = `silent-${platform}`;
    const first = post({ key }, `/held/${name}`);
    await eventually(() => expect(runs.get(name)).toBe(1));
    proxy.refuse();
    proxy.cut();
    gate(name).open();
    expect((await first).status).toBe(201);
    await proxy.heal();
    const second = await eventually(async () => {
      const answer = await post({ key }, `/held/${name}`);
      expect(answer.status).toBe(201);
      return answer;
    });
    expect([second.text, runs.get(name)]).toEqual(['{"times":1}', 1]);
    expect(http.incidents.map(({ code }) => code)).toContain('SETTLEMENT_DELAYED');
  });
});

describe('@Idempotent on a Redis that is down when the application starts', () => {
  it('starts, answers 503, and works as soon as Redis is there', async () => {
    const proxy = await startFaultProxy({ target: server.url });
    proxy.refuse();
    const url = proxy.urlFor(server.url);
    const http = await startHttpApp({
      platform: 'express',
      controllers: [OrdersController],
      imports: [RedisModule.forRoot({ url, namespace: `${server.prefix}late`, commandTimeout: '300ms' })],
      store: redisIdempotencyStore(),
    });
    const post = () => send(`${http.url}/orders`, { key: randomUUID(), body: {} });
    expect(problem(await post())).toMatchObject({ status: 503, code: 'STORE_UNAVAILABLE' });
    await proxy.heal();
    await eventually(async () => expect((await post()).status).toBe(201));
    await http.close();
    await proxy.stop();
  });
});
