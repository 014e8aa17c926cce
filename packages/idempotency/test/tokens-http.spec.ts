import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { IdempotencyService, IdempotencyTokens, type TokenMode } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { eventually, type RedisCommandCounter } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { ClassSerializerInterceptor, type INestApplication } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkoutOf, type Submit } from './support/checkout.controller.js';
import { countCommandsOf } from './support/count-commands.js';
import { type Answer, type HttpApp, type Platform, problem, send, startHttpApp } from './support/http-app.js';
import { Account, gate, runs } from './support/orders.controller.js';

const server = useRedis();
const MODES: readonly TokenMode[] = ['stored', 'stateless', 'single'];
const INVALID = { status: 409, code: 'IDEMPOTENCY_TOKEN_INVALID' };

/** `@Exclude()` of class-transformer in a few words. */
const transformerPackage = {
  classToPlain: (value: unknown) => (value instanceof Account ? { id: value.id } : value),
  plainToInstance: (_type: unknown, value: unknown) => value,
} as never;

function useSerializer(app: INestApplication): void {
  app.useGlobalInterceptors(new ClassSerializerInterceptor(app.get(Reflector), { transformerPackage }));
}

function start(store: 'memory' | 'redis', platform: Platform): Promise<HttpApp> {
  const namespace = `${server.prefix}${platform}`;
  return startHttpApp({
    platform,
    controllers: MODES.map(checkoutOf),
    configure: useSerializer,
    options: {
      sweepEvery: '1h',
      tokens: { purposes: { stateless: { mode: 'stateless' }, single: { mode: 'single' } } },
    },
    ...(store === 'redis'
      ? { imports: [RedisModule.forRoot({ url: server.url, namespace })], store: redisIdempotencyStore() }
      : {}),
  });
}

describe.each([
  ['memory', 'express'],
  ['memory', 'fastify'],
  ['redis', 'express'],
  ['redis', 'fastify'],
] as const)('tokens in %s on %s', (store, platform) => {
  let http: HttpApp;
  beforeAll(async () => {
    http = await start(store, platform);
  });
  afterAll(() => http.close());

  const newOrder = (): string => `order-${randomUUID()}`;
  const confirm = async (mode: TokenMode, user = 'ann'): Promise<string> => {
    const answer = await send(`${http.url}/${mode}/confirm`, { method: 'GET', user });
    expect(answer.status).toBe(200);
    return String(problem(answer).orderToken);
  };
  const submit = (mode: TokenMode, body: Partial<Submit> | Record<string, unknown>, user = 'ann'): Promise<Answer> =>
    send(`${http.url}/${mode}/submit`, { body, user });

  describe.each(['stored', 'stateless'] as const)('of mode %s', (mode) => {
    it('are submitted once, and a repetition after a lost response gets the first answer', async () => {
      const body = { order: newOrder(), orderToken: await confirm(mode) };
      const [first, second] = [await submit(mode, body), await submit(mode, body)];
      expect([first.status, second.status]).toEqual([201, 201]);
      expect(second.text).toBe(first.text);
      expect(second.headers.get('idempotent-replayed')).toBe('true');
      expect(runs.get(body.order)).toBe(1);
    });

    it('place one order for fifty clicks at the same moment, and every click hears of the same one or of 409', async () => {
      const body = { order: newOrder(), held: true, orderToken: await confirm(mode) };
      const clicks = Array.from({ length: 50 }, () => submit(mode, body));
      await eventually(() => expect(runs.get(body.order)).toBe(1));
      gate(body.order).open();
      const answers = await Promise.all(clicks);
      const placed = answers.filter(({ status }) => status === 201);
      expect(new Set(placed.map(({ text }) => text))).toEqual(new Set([`{"order":"${body.order}","times":1}`]));
      for (const answer of answers.filter((one) => !placed.includes(one))) {
        expect(problem(answer)).toMatchObject({ status: 409, code: 'OPERATION_IN_PROGRESS', safeNewKey: false });
      }
      expect(runs.get(body.order)).toBe(1);
    });

    it('of two tabs of one user both work', async () => {
      const tabs = [await confirm(mode), await confirm(mode)].map((orderToken) => ({ order: newOrder(), orderToken }));
      const answers = await Promise.all(tabs.map((body) => submit(mode, body)));
      expect(answers.map(({ status }) => status)).toEqual([201, 201]);
      expect(tabs.map(({ order }) => runs.get(order))).toEqual([1, 1]);
    });

    it('are restored when nothing was applied, also for another payload', async () => {
      const order = newOrder();
      const orderToken = await confirm(mode);
      expect((await submit(mode, { order, orderToken, failing: 'not-applied' })).status).toBe(502);
      expect((await submit(mode, { order, orderToken })).status).toBe(201);
      expect(runs.get(order)).toBe(2);
    });

    it('are restored when a pipe refuses the submit', async () => {
      const order = newOrder();
      const orderToken = await confirm(mode);
      expect((await submit(mode, { order, orderToken, qty: 0 })).status).toBe(400);
      expect((await submit(mode, { order, orderToken, qty: 1 })).status).toBe(201);
    });

    it('are restored when the handler refuses for now, for the same payload', async () => {
      const body = { order: newOrder(), orderToken: await confirm(mode), failing: 'busy' };
      expect(problem(await submit(mode, body))).not.toHaveProperty('code');
      expect(problem(await submit(mode, body))).not.toHaveProperty('code');
      expect(runs.get(body.order)).toBe(2);
      expect(problem(await submit(mode, { ...body, failing: '' }))).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
    });

    it('replay a final refusal of the handler', async () => {
      const body = { order: newOrder(), orderToken: await confirm(mode), failing: 'not-found' };
      const [first, second] = [await submit(mode, body), await submit(mode, body)];
      expect([first.status, second.status, second.text]).toEqual([404, 404, first.text]);
      expect(runs.get(body.order)).toBe(1);
    });

    it('stay uncertain where the outcome is unknown, and name the purpose to operators', async () => {
      const body = { order: newOrder(), orderToken: await confirm(mode), failing: 'unknown' };
      expect((await submit(mode, body)).status).toBe(504);
      const refused = problem(await submit(mode, body));
      expect(refused).toMatchObject({ code: 'OPERATION_UNCERTAIN', operation: `token:${mode}`, safeNewKey: false });
      const operations = http.app.get(IdempotencyService);
      expect(await operations.listUncertain()).toContainEqual(expect.objectContaining({ id: refused.id }));
      expect(await operations.resolve(String(refused.id), { to: 'released' })).toBe(true);
      expect((await submit(mode, { ...body, failing: '' })).status).toBe(201);
    });

    it('refuse another payload, and stay good for the first one', async () => {
      const body = { order: newOrder(), orderToken: await confirm(mode), qty: 1 };
      expect((await submit(mode, body)).status).toBe(201);
      expect(problem(await submit(mode, { ...body, qty: 2 }))).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
      expect((await submit(mode, body)).headers.get('idempotent-replayed')).toBe('true');
    });

    it('say, when they are refused, that a new one is safe', async () => {
      const orderToken = await confirm(mode);
      expect(problem(await submit(mode, { order: newOrder(), orderToken }, 'bob'))).toMatchObject({
        ...INVALID,
        safeNewKey: true,
        operationState: 'not-started',
        detail: expect.stringContaining('Load the form again'),
      });
    });
  });

  describe('of mode single', () => {
    it('are submitted once; the repetition is refused, and is told that a new one may do it twice', async () => {
      const body = { order: newOrder(), orderToken: await confirm('single') };
      expect((await submit('single', body)).status).toBe(201);
      expect(problem(await submit('single', body))).toMatchObject({ ...INVALID, safeNewKey: false });
      expect(runs.get(body.order)).toBe(1);
    });

    it('let one of fifty clicks at the same moment through', async () => {
      const body = { order: newOrder(), orderToken: await confirm('single') };
      const answers = await Promise.all(Array.from({ length: 50 }, () => submit('single', body)));
      expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
      expect(answers.filter(({ status }) => status === 409)).toHaveLength(49);
      expect(runs.get(body.order)).toBe(1);
    });

    it('of two tabs only the last one works', async () => {
      const [before, now] = [await confirm('single', 'cay'), await confirm('single', 'cay')];
      expect(problem(await submit('single', { order: newOrder(), orderToken: before }, 'cay'))).toMatchObject(INVALID);
      expect((await submit('single', { order: newOrder(), orderToken: now }, 'cay')).status).toBe(201);
    });

    it('answer what a verdict was wrapped around, and are used up by it', async () => {
      const body = { order: newOrder(), orderToken: await confirm('single'), failing: 'not-applied' };
      expect((await submit('single', body)).status).toBe(502);
      expect(problem(await submit('single', body))).toMatchObject(INVALID);
    });
  });

  describe.each(MODES)('of mode %s', (mode) => {
    it('of another user, of another purpose, cut short, or made up are refused with one answer', async () => {
      const mine = await confirm(mode);
      const other = MODES.find((one) => one !== mode) ?? mode;
      const order = newOrder();
      const forged = [
        await confirm(mode, 'bob'),
        await confirm(other),
        mine.slice(0, -1),
        `${mine}A`,
        mine.toLowerCase() === mine ? mine.toUpperCase() : mine.toLowerCase(),
        `v1.zzzzzzzz.${'A'.repeat(22)}.m.${'A'.repeat(43)}`,
        'A'.repeat(32),
        'A'.repeat(10_000),
        ' ',
      ];
      const answers = await Promise.all(forged.map((orderToken) => submit(mode, { order, orderToken })));
      for (const { status, text } of answers) expect({ status, text }).toEqual({ status: 409, text: answers[0]?.text });
      const notText: unknown[] = [1, true, {}, [], [mine], { toString: mine }];
      for (const orderToken of notText)
        expect(problem(await submit(mode, { order, orderToken }))).toMatchObject(INVALID);
      expect(runs.get(order)).toBeUndefined();
      expect((await submit(mode, { order, orderToken: mine })).status).toBe(201);
    });

    it('are missed where there is none, with a word on where they belong', async () => {
      for (const body of [{}, { orderToken: null }, { orderToken: '' }]) {
        expect(problem(await submit(mode, { order: 'none', ...body }))).toMatchObject({
          status: 400,
          code: 'IDEMPOTENCY_TOKEN_MISSING',
          detail: expect.stringContaining('the field orderToken of the body'),
          safeNewKey: true,
        });
      }
      const raw = await send(`${http.url}/${mode}/submit`, {
        raw: '[]',
        headers: { 'content-type': 'application/json' },
      });
      expect(problem(raw)).toMatchObject({ code: 'IDEMPOTENCY_TOKEN_MISSING' });
      expect(runs.get('none')).toBeUndefined();
    });

    it('come and go in headers too', async () => {
      const page = await send(`${http.url}/${mode}/confirm-header`, { method: 'GET', user: 'ann' });
      const token = page.headers.get('idempotency-token') ?? '';
      expect([page.text, token.length > 30]).toEqual(['a page', true]);
      const headers = { 'idempotency-token': token };
      const answer = await send(`${http.url}/${mode}/submit-header`, {
        body: { order: newOrder() },
        user: 'ann',
        headers,
      });
      expect(answer.status).toBe(201);
      expect((await send(`${http.url}/${mode}/submit-header`, { body: {}, user: 'ann' })).text).toContain(
        'the header Idempotency-Token',
      );
    });

    it('are refused once they have expired', async () => {
      const page = await send(`${http.url}/${mode}/confirm-short`, { method: 'GET', user: 'ann' });
      const orderToken = page.headers.get('x-order-token') ?? '';
      await expired(http, mode);
      expect(problem(await submit(mode, { order: newOrder(), orderToken }))).toMatchObject(INVALID);
    });

    it('come with an answer that no cache may keep, and that leaves out what a serializer leaves out', async () => {
      const page = await send(`${http.url}/${mode}/confirm`, { method: 'GET', user: 'ann' });
      expect(page.headers.get('cache-control')).toBe('no-store');
      expect(Object.keys(problem(page)).sort()).toEqual(['id', 'orderToken']);
    });
  });

  it.each(['stored', 'stateless'] as const)(
    'replay the answer of a submit of mode %s after their end',
    async (mode) => {
      const page = await send(`${http.url}/${mode}/confirm-short`, { method: 'GET', user: 'ann' });
      const body = { order: newOrder(), orderToken: page.headers.get('x-order-token') ?? '' };
      const first = await submit(mode, body);
      expect(first.status).toBe(201);
      await expired(http, mode);
      const again = await submit(mode, body);
      expect([again.status, again.text, runs.get(body.order)]).toEqual([201, first.text, 1]);
    },
  );
});

/** Until a token of 300 ms that was issued now is refused, and so is any that was issued before. */
async function expired(http: HttpApp, mode: TokenMode): Promise<void> {
  const tokens = http.app.get(IdempotencyTokens);
  const whose = (): { purpose: string; scope: string } => ({ purpose: mode, scope: `clock-${randomUUID()}` });
  const issued = await Promise.all(
    Array.from({ length: 60 }, async () => {
      const one = whose();
      return { ...one, payload: null, token: await tokens.issue(one, { ttl: '300ms' }) };
    }),
  );
  await eventually(async () => {
    const use = issued.pop();
    if (!use) throw new Error('none left');
    // Each is asked once, because a use that comes in time would be answered ever after.
    await expect(tokens.run(use, async () => 1)).rejects.toMatchObject({ code: 'IDEMPOTENCY_TOKEN_INVALID' });
  });
}

describe('tokens on Redis', () => {
  let http: HttpApp;
  let counter: RedisCommandCounter;
  const tokens = (): IdempotencyTokens => http.app.get(IdempotencyTokens);
  beforeAll(async () => {
    http = await start('redis', 'express');
    counter = await countCommandsOf(http.app.get(RedisConnection, { strict: false }), server.url);
    for (const purpose of MODES) {
      const whose = { purpose, scope: 'warm' };
      await tokens().run({ ...whose, token: await tokens().issue(whose), payload: 1 }, async () => 1);
    }
  });
  afterAll(async () => {
    counter.stop();
    await http.close();
  });

  it.each([
    ['stored', 1, 2],
    ['stateless', 0, 2],
    ['single', 1, 1],
  ])('of mode %s cost %i commands to issue and %i to submit', async (purpose, toIssue, toSubmit) => {
    const whose = { purpose, scope: 'ann' };
    await counter.reset();
    const token = await tokens().issue(whose);
    expect(await counter.commands()).toHaveLength(toIssue);
    await counter.reset();
    await tokens().run({ ...whose, token, payload: 1 }, async () => 1);
    expect(await counter.commands()).toHaveLength(toSubmit);
    await counter.reset();
    await tokens()
      .run({ ...whose, token, payload: 1 }, async () => 1)
      .catch(() => undefined);
    expect(await counter.commands()).toHaveLength(1);
  });

  it.each(MODES)('of mode %s that cannot be one are refused without asking Redis', async (purpose) => {
    const bad = [
      '',
      'short',
      'A'.repeat(33),
      `${'A'.repeat(31)}!`,
      `v1.zzzzzzzz.${'A'.repeat(22)}.m.${'A'.repeat(43)}`,
    ];
    await counter.reset();
    for (const token of bad) {
      const use = { purpose, scope: 'ann', token, payload: 1 };
      await expect(tokens().run(use, async () => 1)).rejects.toMatchObject({ code: 'IDEMPOTENCY_TOKEN_INVALID' });
    }
    expect(await counter.commands()).toEqual([]);
  });
});
