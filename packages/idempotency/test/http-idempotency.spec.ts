import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { IdempotencyService } from '@lockstep/idempotency';
import { eventually } from '@lockstep/testing';
import { ClassSerializerInterceptor, type INestApplication } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Answer, type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { Account, gate, OrdersController, runs } from './support/orders.controller.js';

/** Nest's serializer asks this package what may leave; `@Exclude()` of class-transformer in a few words. */
const transformerPackage = {
  classToPlain: (value: unknown) => (value instanceof Account ? { id: value.id } : value),
  plainToInstance: (_type: unknown, value: unknown) => value,
} as never;

function useSerializer(app: INestApplication): void {
  app.useGlobalInterceptors(new ClassSerializerInterceptor(app.get(Reflector), { transformerPackage }));
}

describe.each(['express', 'fastify'] as const)('@Idempotent over HTTP on %s', (platform) => {
  let http: HttpApp;
  beforeAll(async () => {
    http = await startHttpApp({ platform, controllers: [OrdersController], configure: useSerializer });
  });
  beforeEach(() => runs.clear());
  afterAll(() => http.close());

  const post = (path: string, init: Parameters<typeof send>[1] = {}): Promise<Answer> =>
    send(`${http.url}/orders${path}`, { key: randomUUID(), ...init });
  const twice = async (path: string, init: Parameters<typeof send>[1] = {}): Promise<[Answer, Answer]> => {
    const key = randomUUID();
    return [await post(path, { key, ...init }), await post(path, { key, ...init })];
  };
  const expectReplay = ([first, second]: readonly [Answer, Answer], headers: readonly string[] = []): void => {
    expect(second.status).toBe(first.status);
    expect(second.text).toBe(first.text);
    for (const name of ['content-type', ...headers]) expect(second.headers.get(name)).toBe(first.headers.get(name));
    expect(first.headers.get('idempotent-replayed')).toBeNull();
    expect(second.headers.get('idempotent-replayed')).toBe('true');
  };

  describe('a double click', () => {
    it('runs the handler once however many requests arrive at the same time', async () => {
      const key = randomUUID();
      const name = `double-${platform}`;
      const requests = Array.from({ length: 20 }, () => post(`/held/${name}`, { key }));
      await eventually(() => expect(runs.get(name)).toBe(1));
      await eventually(async () => expect((await post(`/held/${name}`, { key })).status).toBe(409));
      gate(name).open();
      const answers = await Promise.all(requests);
      expect(runs.get(name)).toBe(1);
      expect(answers.filter(({ status }) => status === 201)).not.toHaveLength(0);
      for (const answer of answers) {
        if (answer.status === 201) expect(answer.text).toBe('{"times":1}');
        else expect(problem(answer)).toMatchObject({ status: 409, code: 'OPERATION_IN_PROGRESS' });
      }
    });

    it('tells a repetition during the first run when to come back, and that a new key is not safe', async () => {
      const key = randomUUID();
      const name = `busy-${platform}`;
      const first = post(`/held/${name}`, { key });
      await eventually(() => expect(runs.get(name)).toBe(1));
      const second = await post(`/held/${name}`, { key });
      expect(second.headers.get('content-type')).toContain('application/problem+json');
      expect(second.headers.get('retry-after')).toBe('1');
      expect(problem(second)).toMatchObject({
        code: 'OPERATION_IN_PROGRESS',
        operationState: 'running',
        safeNewKey: false,
      });
      gate(name).open();
      expect((await first).status).toBe(201);
    });
  });

  describe('a replay is what was sent', () => {
    it('for JSON', async () => expectReplay(await twice('', { body: { sku: 'apple' } })));
    it('for a status and headers that the handler set itself', async () => {
      const [first, second] = await twice('/status');
      expectReplay([first, second], ['location', 'cache-control']);
      expect(first.status).toBe(207);
      expect(first.headers.get('set-cookie')).toBe('sid=secret');
      expect(second.headers.get('set-cookie')).toBeNull();
      expect(second.headers.get('x-internal')).toBeNull();
    });
    it('for nothing at all', async () => {
      const [first, second] = await twice('/nothing');
      expectReplay([first, second]);
      expect([second.status, second.text, runs.get('nothing')]).toEqual([204, '', 1]);
    });
    it('for text', async () => expectReplay(await twice('/text')));
    it('for null', async () => expectReplay(await twice('/null')));
    it('for a number', async () => expectReplay(await twice('/number')));
    it('for a date', async () => expectReplay(await twice('/date')));
    it('for a list', async () => expectReplay(await twice('/list')));
    it('for bytes', async () => expectReplay(await twice('/bytes')));
    it('for a file', async () => expectReplay(await twice('/stream'), ['content-disposition']));
    it('for a redirect', async () => {
      const [first, second] = await twice('/redirect');
      expect([second.status, second.headers.get('location')]).toEqual([first.status, first.headers.get('location')]);
      expect(second.headers.get('location')).toBe('/orders/1');
    });
    it('for an Observable', async () => {
      const [first, second] = await twice('/observable');
      expectReplay([first, second]);
      expect(second.text).toBe('{"times":1}');
    });
    it('for a refusal of the handler', async () => {
      const [first, second] = await twice('/missing');
      expectReplay([first, second]);
      expect(second.status).toBe(404);
      expect(problem(second)).toEqual({ code: 'NO_SUCH_SKU', times: 1 });
    });
    it('for a refusal with a text', async () => expectReplay(await twice('/teapot')));
    it('without the fields that a global serializer removes', async () => {
      const [first, second] = await twice('/account');
      expectReplay([first, second]);
      expect(second.text).toBe('{"id":1}');
    });
  });

  describe('an answer that cannot be told again', () => {
    it.each(['/large'])('is sent once, and its repetition is refused instead of run: %s', async (path) => {
      const [first, second] = await twice(path);
      expect(first.status).toBe(201);
      expect(first.text.length).toBeGreaterThan(5);
      expect(problem(second)).toMatchObject({ status: 409, code: 'OPERATION_RESULT_UNAVAILABLE', safeNewKey: false });
      expect(runs.get(path.slice(1))).toBe(1);
    });
  });

  describe('another payload under the same key', () => {
    it('is refused with 422 after the first has ended', async () => {
      const key = randomUUID();
      await post('', { key, body: { sku: 'apple' } });
      const second = await post('', { key, body: { sku: 'pear' } });
      expect(problem(second)).toMatchObject({ status: 422, code: 'IDEMPOTENCY_KEY_REUSED', safeNewKey: true });
      expect(runs.get('place')).toBe(1);
    });

    it('is refused with 422, not 409, while the first runs', async () => {
      const key = randomUUID();
      const name = `mismatch-${platform}`;
      const first = post(`/held/${name}`, { key, body: { a: 1 } });
      await eventually(() => expect(runs.get(name)).toBe(1));
      expect((await post(`/held/${name}`, { key, body: { a: 2 } })).status).toBe(422);
      expect((await post(`/held/${name}?retry=1`, { key, body: { a: 1 } })).status).toBe(422);
      gate(name).open();
      await first;
    });

    it('is the same payload when only the order of its fields differs', async () => {
      const key = randomUUID();
      const first = await post('', { key, body: { sku: 'apple', n: { a: 1, b: [1, 2] } } });
      const second = await post('', { key, body: { n: { b: [1, 2], a: 1 }, sku: 'apple' } });
      expect([first.status, second.status]).toEqual([201, 201]);
      expect(runs.get('place')).toBe(1);
    });

    it('is another operation on another route', async () => {
      const key = randomUUID();
      expect((await post('/text', { key })).status).toBe(201);
      expect((await post('/nothing', { key })).status).toBe(204);
    });
  });

  describe('the key', () => {
    it('is the same bare and in quotes', async () => {
      const key = randomUUID();
      await post('', { key, body: {} });
      const quoted = await post('', { key: `"${key}"`, body: {} });
      const withParameter = await post('', { key: `"${key}";v=1`, body: {} });
      expect([quoted, withParameter].map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([
        'true',
        'true',
      ]);
    });

    it('is required where the route says so', async () => {
      const answer = await send(`${http.url}/orders`, { body: {} });
      const title = 'The request cannot be accepted as it is';
      expect(problem(answer)).toMatchObject({ status: 400, code: 'IDEMPOTENCY_KEY_MISSING', title });
      expect(runs.get('place')).toBeUndefined();
    });

    it('may be missing where the route says so, and then every request runs', async () => {
      for (const times of [1, 2]) expect(problem(await send(`${http.url}/orders/optional`))).toEqual({ times });
    });

    it.each([
      ['too short', 'short'],
      ['too long', 'x'.repeat(256)],
      ['enormous', `"${'x'.repeat(5_000)}"`],
      ['with a space', 'two words and more words'],
      ['with a comma', 'aaaaaaaaaaaaaaaa,bbbbbbbbbbbbbbbb'],
      ['sent twice', 'aaaaaaaaaaaaaaaa, aaaaaaaaaaaaaaaa'],
      ['half quoted', '"aaaaaaaaaaaaaaaaaaaa'],
      ['quoted twice', '"aaaaaaaaaaaaaaaaaaaa""b"'],
      ['not ASCII', 'é'.repeat(20)],
      ['empty', ''],
    ])('is refused with 400 when it is %s', async (_how, key) => {
      const answer = await post('', { key, body: {} });
      expect(problem(answer)).toMatchObject({ status: 400, code: 'IDEMPOTENCY_KEY_INVALID' });
      expect(runs.get('place')).toBeUndefined();
    });

    it('belongs to one user', async () => {
      const key = randomUUID();
      const [alice, bob] = [
        await post('', { key, user: 'alice', body: {} }),
        await post('', { key, user: 'bob', body: {} }),
      ];
      expect([alice.status, bob.status, runs.get('place')]).toEqual([201, 201, 2]);
      expect(bob.headers.get('idempotent-replayed')).toBeNull();
    });
  });

  describe('a failure', () => {
    it('of a pipe leaves the key free, also for a corrected payload', async () => {
      const key = randomUUID();
      expect((await post('/pipes/seven', { key })).status).toBe(400);
      expect((await post('/pipes/7', { key })).status).toBe(201);
    });

    it('that says "not now" may be tried again with the same key', async () => {
      const answers = await twice('/conflict');
      expect(answers.map(problem)).toEqual([{ times: 1 }, { times: 2 }]);
    });

    it('of unknown outcome blocks the key until an operator has looked', async () => {
      const key = randomUUID();
      expect((await post('/broken', { key })).status).toBe(500);
      const second = await post('/broken', { key });
      const detail = 'The first request with this key failed or broke off; whether it took effect is not known.';
      expect(problem(second)).toMatchObject({ status: 409, code: 'OPERATION_UNCERTAIN', safeNewKey: false, detail });
      const service = http.app.get(IdempotencyService);
      const listed = (await service.listUncertain()).filter(({ operation }) => operation === 'POST /orders/broken');
      expect(listed).toHaveLength(1);
      const incident = http.incidents.find(({ code }) => code === 'OPERATION_UNCERTAIN');
      expect(incident?.fields).toMatchObject({ operation: 'POST /orders/broken', id: listed[0]?.id });
      expect(await service.resolve(listed[0]?.id ?? '', { to: 'released' })).toBe(true);
      expect((await post('/broken', { key })).status).toBe(500);
      expect(runs.get('broken')).toBe(2);
    });

    it('may be tried again where the route chose retry', async () => {
      const [first, second] = await twice('/broken-retry');
      expect([first.status, second.status]).toEqual([500, 201]);
    });

    it('that the handler calls not applied frees the key, and the caller sees the cause', async () => {
      const answers = await twice('/not-applied');
      expect(answers.map(({ status }) => status)).toEqual([502, 502]);
      expect(runs.get('not-applied')).toBe(2);
    });

    it('that the handler calls unknown blocks the key even where the route chose retry', async () => {
      const answers = await twice('/outcome-unknown');
      expect(answers.map(({ status }) => status)).toEqual([504, 409]);
    });

    it('of a guarantee inside frees the key when nothing happened and blocks it when nobody knows', async () => {
      expect((await twice('/inner-busy')).map(({ status }) => status)).toEqual([423, 423]);
      expect(runs.get('inner-busy')).toBe(2);
      expect((await twice('/inner-unknown')).map(({ status }) => status)).toEqual([500, 409]);
    });
  });

  it('stores the answer of a client that went away in the middle', async () => {
    for (const path of [`/held/gone-${platform}`, '/observable']) {
      const key = randomUUID();
      const leaving = new AbortController();
      const headers = { 'idempotency-key': key };
      const first = fetch(`${http.url}/orders${path}`, { method: 'POST', headers, signal: leaving.signal });
      await eventually(() => expect(runs.get(path.split('/').at(-1) ?? '')).toBe(1), { intervalMs: 1 });
      leaving.abort();
      await expect(first).rejects.toThrow();
      gate(`gone-${platform}`).open();
      const second = await eventually(async () => {
        const answer = await post(path, { key });
        expect(answer.status).toBe(201);
        return answer;
      });
      expect(second.text).toBe('{"times":1}');
    }
  });

  it('leaves other routes alone', async () => {
    const answer = await send(`${http.url}/orders/plain`, { method: 'GET', key: 'x' });
    expect([answer.status, answer.text]).toEqual([200, '{"plain":true}']);
  });

  it('reports nothing but what could not be stored', () => {
    const own = http.incidents.filter(({ source }) => source.startsWith('idempotency'));
    expect(new Set(own.map(({ code }) => code))).toEqual(new Set(['ANSWER_NOT_STORED']));
  });
});
