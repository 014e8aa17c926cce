import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Claim, MemoryIdempotencyStore, type Settlement } from '@lockstep/idempotency';
import { eventually } from '@lockstep/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { leave } from './support/leave.js';
import { gate, runs } from './support/orders.controller.js';
import { OwnAnswersController, waysOf } from './support/own-answers.controller.js';
import { StreamsController, streamingResults } from './support/streams.controller.js';
import { expectReplay, twice } from './support/twice.js';

/** Takes its time. */
class HesitantStore extends MemoryIdempotencyStore {
  settled = 0;

  override async settle(claim: Claim, settlement: Settlement): Promise<boolean> {
    await sleep(40);
    const isSettled = await super.settle(claim, settlement);
    this.settled += 1;
    return isSettled;
  }
}

describe.each(['express', 'fastify'] as const)('a handler that answers through @Res() on %s', (platform) => {
  let http: HttpApp;
  beforeAll(async () => {
    http = await startHttpApp({ platform, controllers: [OwnAnswersController] });
  });
  beforeEach(() => runs.clear());
  afterAll(() => http.close());

  describe('is replayed as it was sent', () => {
    it.each(waysOf(platform))('for %s', async (way) => {
      const answers = await twice(`${http.url}/own/ways/${encodeURIComponent(way)}`);
      expect(runs.get(way)).toBe(1);
      expectReplay(answers, ['set-cookie', 'accept-ranges', 'cache-control', 'vary']);
    });

    it('without the cookies of the first client', async () => {
      const [first, second] = await twice(`${http.url}/own/ways/a%20cookie`);
      expect(first.headers.get('set-cookie')).toContain('s3cret');
      expect(second.headers.get('set-cookie')).toBeNull();
    });

    it('where there is a head and no body', async () => {
      const [first, second] = await twice(`${http.url}/own/head`, { method: 'HEAD' });
      expectReplay([first, second]);
      expect([second.status, second.headers.get('content-length')]).toEqual([200, '6']);
      expect(first.headers.get('content-length')).toBe('6');
      expect(runs.get('head')).toBe(1);
    });

    it('where it threw instead', async () => {
      const answers = await twice(`${http.url}/own/throws`);
      expectReplay(answers);
      expect(problem(answers[1])).toEqual({ code: 'NO_SUCH_SKU', times: 1 });
    });
  });

  it('is not run again when its answer is too large to be kept', async () => {
    const [first, second] = await twice(`${http.url}/own/large`);
    expect(first.text).toHaveLength(300_001);
    expect(problem(second)).toMatchObject({ status: 409, code: 'OPERATION_RESULT_UNAVAILABLE' });
    expect(runs.get('own-large')).toBe(1);
  });

  it.each([
    [422, 422, 1],
    [429, 429, 2],
    [503, 409, 1],
    [507, 507, 1],
  ])('is judged by its status %i as if it had thrown: %i, and %i runs', async (status, again, times) => {
    const [first, second] = await twice(`${http.url}/own/status/${status}`);
    expect([first.status, second.status]).toEqual([status, again]);
    expect(runs.get(`status-${status}`)).toBe(times);
  });

  it('that was to leave its answer to Nest is not run again, and nothing is made up', async () => {
    const [first, second] = await twice(`${http.url}/own/by-hand`);
    expect(first.text).toBe('{"times":1}');
    expect(problem(second)).toMatchObject({ status: 409, code: 'OPERATION_RESULT_UNAVAILABLE' });
    expect(runs.get('by-hand')).toBe(1);
  });

  it('frees the key when it throws NotApplied', async () => {
    const answers = await twice(`${http.url}/own/not-applied`);
    expect(answers.map(({ status }) => status)).toEqual([502, 502]);
    expect(runs.get('own-not-applied')).toBe(2);
  });

  it('is answered for good with what it sent before it threw', async () => {
    expectReplay(await twice(`${http.url}/own/throws-after`));
    expect(runs.get('throws-after')).toBe(1);
  });

  it('that throws in the middle of its answer is not run again, and nothing is made up', async () => {
    const key = randomUUID();
    await send(`${http.url}/own/throws-within`, { key }).catch(() => undefined);
    const second = await send(`${http.url}/own/throws-within`, { key });
    expect(problem(second)).toMatchObject({ status: 409, code: 'OPERATION_RESULT_UNAVAILABLE' });
    expect(runs.get('throws-within')).toBe(1);
  });

  it('is stored when its client has left before it answers', async () => {
    const name = `own-gone-${platform}`;
    const answers = { held: '{"times":1}', begun: 'begun 1, ended', 'late-pipe': 'piped 1' };
    for (const [way, text] of Object.entries(answers)) {
      const path = `/own/${way}/${name}-${way}`;
      const key = randomUUID();
      const run = path.split('/').at(-1) ?? '';
      await leave(`${http.url}${path}`, key, () => expect(runs.get(run)).toBe(1));
      gate(run).open();
      const second = await eventually(async () => {
        const answer = await send(`${http.url}${path}`, { key });
        expect(answer.status).toBe(201);
        return answer;
      });
      expect(second.text).toBe(text);
      expect(runs.get(run)).toBe(1);
    }
  });

  it.each([
    ['in the middle of', 'endless-pipe'],
    ['before', 'late-endless-pipe'],
  ])('is not run again when its client has left %s a stream that never ends', async (_when, path) => {
    const name = `own-${path}-${platform}`;
    const url = `${http.url}/own/${path}/${name}`;
    const key = randomUUID();
    await leave(url, key, () => expect(runs.get(name)).toBe(1));
    await eventually(async () =>
      expect(problem(await send(url, { key }))).toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' }),
    );
  });

  it('reports nothing but what could not be stored', () => {
    const own = http.incidents.filter(({ source }) => source.startsWith('idempotency'));
    expect(new Set(own.map(({ code }) => code))).toEqual(new Set(['ANSWER_NOT_STORED']));
  });
});

describe.each(['express', 'fastify'] as const)('the last byte of an answer on %s', (platform) => {
  const store = new HesitantStore();
  let http: HttpApp;
  beforeAll(async () => {
    const controllers = [OwnAnswersController, StreamsController];
    http = await startHttpApp({ platform, controllers, store: { useFactory: () => store } });
  });
  afterAll(() => http.close());

  it.each([
    ...waysOf(platform).map((way) => ['POST', `own/ways/${encodeURIComponent(way)}`]),
    ...streamingResults.map((result) => ['POST', `streams/results/${encodeURIComponent(result)}`]),
    ['HEAD', 'own/head'],
  ])(
    'leaves when the store has the answer, so that nobody who was answered finds the key open: %s %s',
    async (method, path) => {
      const before = store.settled;
      await send(`${http.url}/${path}`, { method, key: randomUUID() });
      expect(store.settled).toBe(before + 1);
    },
  );
});

describe.each(['express', 'fastify'] as const)('a handler that never answers on %s', (platform) => {
  it('holds the key for maxExecution, and then its outcome is not known', async () => {
    runs.clear();
    const options = { lease: '300ms', maxExecution: '300ms', retention: '1h' } as const;
    const http = await startHttpApp({ platform, controllers: [OwnAnswersController], options });
    const url = `${http.url}/own/never`;
    const key = randomUUID();
    await leave(url, key, () => expect(runs.get('never')).toBe(1));
    expect(problem(await send(url, { key }))).toMatchObject({ code: 'OPERATION_IN_PROGRESS' });
    await eventually(async () =>
      expect(problem(await send(url, { key }))).toMatchObject({ code: 'OPERATION_UNCERTAIN' }),
    );
    expect(runs.get('never')).toBe(1);
    await http.close();
  });
});
