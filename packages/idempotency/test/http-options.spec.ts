import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import {
  type BeginOutcome,
  type BeginRequest,
  IdempotencyService,
  Idempotent,
  MemoryIdempotencyStore,
} from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisModule } from '@lockstep/redis';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Controller, HttpException, Post } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { leave } from './support/leave.js';
import { gate, OrdersController, ran, runs } from './support/orders.controller.js';

const server = useRedis();

@Controller('careless')
class CarelessController {
  @Post('bypass')
  @Idempotent({ onStoreDown: 'bypass' })
  async bypass(): Promise<object> {
    return { times: ran('bypass') };
  }

  @Post('reject')
  @Idempotent()
  async reject(): Promise<object> {
    return { times: ran('reject') };
  }
}

@Controller('verdicts')
class VerdictsController {
  @Post('module/:status')
  @Idempotent()
  async byModule(): Promise<never> {
    throw new HttpException({ times: ran('module') }, 503);
  }

  @Post('route')
  @Idempotent({ onError: () => 'release' })
  async byRoute(): Promise<never> {
    throw new HttpException({ times: ran('route') }, 404);
  }

  @Post('own')
  @Idempotent({ onError: () => 'store' })
  async noException(): Promise<never> {
    ran('no exception');
    throw new Error('no answer at all');
  }
}

class CountingStore extends MemoryIdempotencyStore {
  begun = 0;

  override begin(request: BeginRequest): Promise<BeginOutcome> {
    this.begun += 1;
    return super.begin(request);
  }
}

let http: HttpApp | undefined;
beforeEach(() => runs.clear());
afterEach(async () => {
  await http?.close();
  http = undefined;
});

describe.each(['express', 'fastify'] as const)('options over HTTP on %s', (platform) => {
  it("key.format 'strict' takes the quoted string alone, 'lenient' both as one key", async () => {
    const key = randomUUID();
    const post = (url: string, given: string) => send(`${url}/orders`, { key: given, body: {} });
    http = await startHttpApp({ platform, controllers: [OrdersController], options: { key: { format: 'strict' } } });
    expect(problem(await post(http.url, key))).toMatchObject({
      status: 400,
      code: 'IDEMPOTENCY_KEY_INVALID',
      detail: 'The header Idempotency-Key must be one quoted string of printable ASCII.',
    });
    expect((await post(http.url, `"${key}"`)).status).toBe(201);
    expect((await post(http.url, `"${key}";v=1`)).headers.get('idempotent-replayed')).toBe('true');
    await http.close();
    http = await startHttpApp({ platform, controllers: [OrdersController] });
    expect((await post(http.url, key)).status).toBe(201);
    expect((await post(http.url, `"${key}"`)).headers.get('idempotent-replayed')).toBe('true');
  });

  it("onError 'store' keeps an HttpException of any status, also of the module", async () => {
    const options = { onError: (error: unknown) => (error instanceof HttpException ? ('store' as const) : undefined) };
    http = await startHttpApp({ platform, controllers: [VerdictsController], options });
    const key = randomUUID();
    const url = `${http.url}/verdicts/module/503`;
    const answers = [await send(url, { key }), await send(url, { key })];
    expect(answers.map(({ status, text }) => [status, text])).toEqual([
      [503, '{"times":1}'],
      [503, '{"times":1}'],
    ]);
    expect(answers[1]?.headers.get('idempotent-replayed')).toBe('true');
  });

  it('onError of a route stands over the rule of a status', async () => {
    http = await startHttpApp({ platform, controllers: [VerdictsController] });
    const key = randomUUID();
    for (let i = 0; i < 2; i += 1) expect((await send(`${http.url}/verdicts/route`, { key })).status).toBe(404);
    expect(runs.get('route')).toBe(2);
  });

  it("onError 'store' cannot keep what is no answer: the rules decide", async () => {
    http = await startHttpApp({ platform, controllers: [VerdictsController] });
    const key = randomUUID();
    expect((await send(`${http.url}/verdicts/own`, { key })).status).toBe(500);
    expect(problem(await send(`${http.url}/verdicts/own`, { key }))).toMatchObject({ code: 'OPERATION_UNCERTAIN' });
  });

  it('no problem of ours may be cached', async () => {
    http = await startHttpApp({ platform, controllers: [OrdersController] });
    const key = randomUUID();
    const post = (init: Parameters<typeof send>[1]) => send(`${http?.url}/orders`, init);
    await post({ key, body: {} });
    await send(`${http.url}/orders/broken`, { key });
    const answers = [
      await post({ body: {} }),
      await post({ key: 'short', body: {} }),
      await post({ key, body: { sku: 'other' } }),
      await send(`${http.url}/orders/broken`, { key }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 422, 409]);
    expect(answers.map(({ headers }) => headers.get('cache-control'))).toEqual(Array(4).fill('no-store'));
  });

  it('a duplicate that waits stops waiting when its client leaves', async () => {
    const store = new CountingStore();
    http = await startHttpApp({
      platform,
      controllers: [OrdersController],
      store: { useFactory: () => store },
      options: { onConcurrent: { wait: '1m' }, lease: '30s' },
    });
    const name = `waited-${platform}`;
    const url = `${http.url}/orders/held/${name}`;
    const key = randomUUID();
    const first = send(url, { key });
    await eventually(() => expect(runs.get(name)).toBe(1));
    const begunBefore = store.begun;
    let refusals = 0;
    http.app.get(IdempotencyService).subscribe((event) => {
      if (event.type === 'refused') refusals += 1;
    });
    await leave(url, key, () => expect(store.begun).toBeGreaterThan(begunBefore));
    await eventually(() => expect(refusals).toBe(1));
    const second = send(url, { key });
    gate(name).open();
    const answers = [await first, await second];
    expect(answers.map(({ status, text }) => [status, text])).toEqual(Array(2).fill([201, '{"times":1}']));
  });
});

describe.each(['express', 'fastify'] as const)('a store that is down on %s', (platform) => {
  let proxy: FaultProxy;
  let app: HttpApp;
  beforeAll(async () => {
    proxy = await startFaultProxy({ target: server.url });
    const url = proxy.urlFor(server.url);
    app = await startHttpApp({
      platform,
      controllers: [CarelessController],
      imports: [RedisModule.forRoot({ url, namespace: `${server.prefix}${platform}`, commandTimeout: '300ms' })],
      store: redisIdempotencyStore(),
    });
  });
  afterAll(async () => {
    await app.close();
    await proxy.stop();
  });

  it('is passed by where the route says so, and the answer and an incident tell', async () => {
    const post = (path: string, key = randomUUID()) => send(`${app.url}/careless/${path}`, { key });
    expect((await post('bypass')).headers.get('idempotency-status')).toBeNull();
    proxy.refuse();
    proxy.cut();
    const key = randomUUID();
    const answers = [await post('bypass', key), await post('bypass', key)];
    expect(answers.map(({ status, text }) => [status, text])).toEqual([
      [201, '{"times":2}'],
      [201, '{"times":3}'],
    ]);
    expect(answers.map(({ headers }) => headers.get('idempotency-status'))).toEqual(['bypassed', 'bypassed']);
    expect(app.incidents.filter(({ code }) => code === 'IDEMPOTENCY_BYPASSED')).toHaveLength(2);
    const refused = await post('reject');
    expect(problem(refused)).toMatchObject({ status: 503, code: 'STORE_UNAVAILABLE' });
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(runs.get('reject')).toBeUndefined();
    await proxy.heal();
    await eventually(async () => expect((await post('bypass')).headers.get('idempotency-status')).toBeNull());
  });
});
