import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { map, type Observable } from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Answer, type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { leave, leaveWithin } from './support/leave.js';
import { gate, runs } from './support/orders.controller.js';
import { StreamsController, streamingResults } from './support/streams.controller.js';
import { expectReplay, twice } from './support/twice.js';

/** Puts a result into an object, as an envelope would. */
class Envelope implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((data: unknown) => ({ data })));
  }
}

describe.each(['express', 'fastify'] as const)('a streamed answer on %s', (platform) => {
  let http: HttpApp;
  beforeAll(async () => {
    http = await startHttpApp({ platform, controllers: [StreamsController] });
  });
  beforeEach(() => runs.clear());
  afterAll(() => http.close());

  const isUnavailable = { status: 409, code: 'OPERATION_RESULT_UNAVAILABLE', operationState: 'completed' };
  const repeated = (url: string, key: string, status: number): Promise<Answer> =>
    eventually(async () => {
      const answer = await send(url, { key });
      expect(answer.status).toBe(status);
      return answer;
    });

  describe('is replayed as it was sent', () => {
    it.each(streamingResults)('for %s', async (result) => {
      const answers = await twice(`${http.url}/streams/results/${encodeURIComponent(result)}`);
      expectReplay(answers, ['set-cookie']);
      expect(runs.get(result)).toBe(1);
    });

    it.each(['typed', 'observed', 'passthrough'])('with the headers of the route: %s', async (path) => {
      expectReplay(await twice(`${http.url}/streams/${path}`));
      expect(runs.get(path)).toBe(1);
    });

    it('with type, disposition and length of a file', async () => {
      const answers = await twice(`${http.url}/streams/results/a%20file%20of%20known%20length`);
      for (const { headers, text } of answers) {
        expect(text).toBe('bill 1');
        expect(headers.get('content-type')).toBe('application/pdf');
        expect(headers.get('content-disposition')).toBe('attachment; filename="bill.pdf"');
        expect(headers.get('content-length')).toBe('6');
      }
    });

    it('without the cookies of the first client', async () => {
      const [first, second] = await twice(`${http.url}/streams/results/a%20response`);
      expect([first.status, first.headers.get('set-cookie')]).toEqual([202, 'sid=s3cret']);
      expect([second.status, second.headers.get('set-cookie')]).toEqual([202, null]);
    });

    it('where there is a head and no body', async () => {
      const answers = await twice(`${http.url}/streams/file`, { method: 'HEAD' });
      expectReplay(answers);
      for (const { headers } of answers) expect(headers.get('content-length')).toBe('6');
    });
  });

  it('is sent to its end but not kept when it is too large, and never run again', async () => {
    const [first, second] = await twice(`${http.url}/streams/large`);
    expect(first.bytes).toHaveLength(300_000);
    expect(problem(second)).toMatchObject(isUnavailable);
    expect(runs.get('large-stream')).toBe(1);
  });

  it.each(['file', 'generator'])(
    'that fails before its first byte took effect: it is not run again, and the failure is no answer: %s',
    async (kind) => {
      const [first, second] = await twice(`${http.url}/streams/fails-at-once/${kind}`);
      expect(first.status).toBeGreaterThanOrEqual(400);
      expect(problem(second)).toMatchObject(isUnavailable);
      expect(runs.get(`fails-at-once ${kind}`)).toBe(1);
    },
  );

  it.each(['file', 'generator'])('that fails in the middle took effect: it is not run again: %s', async (kind) => {
    const key = randomUUID();
    const url = `${http.url}/streams/fails-within/${kind}`;
    await expect(send(url, { key })).rejects.toThrow();
    expect(problem(await repeated(url, key, 409))).toMatchObject(isUnavailable);
    expect(runs.get(`fails-within ${kind}`)).toBe(1);
  });

  describe('whose client leaves', () => {
    it('in the middle of a file is read to its end, for the client will ask again', async () => {
      const name = `slow-${platform}`;
      const key = randomUUID();
      const url = `${http.url}/streams/slow/${name}`;
      await leaveWithin(url, key);
      expect((await send(url, { key })).status).toBe(409);
      gate(name).open();
      const answer = await repeated(url, key, 201);
      expect(answer.text).toBe('begun 1, ended');
      expect(answer.headers.get('content-type')).toBe('application/pdf');
      expect(answer.headers.get('content-disposition')).toContain('bill.pdf');
    });

    it.each(['late', 'late-observed'])('before there is a file is kept with all its headers: %s', async (path) => {
      const name = `${path}-${platform}`;
      const key = randomUUID();
      const url = `${http.url}/streams/${path}/${name}`;
      await leave(url, key, () => expect(runs.get(name)).toBe(1));
      gate(name).open();
      const answer = await repeated(url, key, 201);
      expect(answer.text).toBe('bill 1');
      expect(answer.headers.get('content-type')).toBe('application/pdf');
      expect(answer.headers.get('content-disposition')).toContain('bill.pdf');
      expect(runs.get(name)).toBe(1);
    });
  });
});

describe.each(['express', 'fastify'] as const)('a stream in the envelope of another interceptor on %s', (platform) => {
  it.each(['a readable', 'a file of bytes'])('is replayed as Nest makes of it, once: %s', async (result) => {
    runs.clear();
    const configure = (app: { useGlobalInterceptors(...all: NestInterceptor[]): unknown }) =>
      app.useGlobalInterceptors(new Envelope());
    const http = await startHttpApp({ platform, controllers: [StreamsController], configure });
    expectReplay(await twice(`${http.url}/streams/results/${encodeURIComponent(result)}`));
    expect(runs.get(result)).toBe(1);
    await http.close();
  });
});
