import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Idempotent } from '@lockstep/idempotency';
import { eventually } from '@lockstep/testing';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  HttpException,
  type NestInterceptor,
  NotFoundException,
  Param,
  type PipeTransform,
  Post,
  RequestTimeoutException,
  UseInterceptors,
} from '@nestjs/common';
import { catchError, type Observable, TimeoutError, throwError, timeout } from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type HttpApp, problem, send, startHttpApp } from './support/http-app.js';
import { gate, ran, runs } from './support/orders.controller.js';

/** As the documentation of Nest has it: 408 when a handler takes too long, which goes on all the same. */
class TimeoutInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const giveUp = (error: unknown): Observable<never> =>
      throwError(() => (error instanceof TimeoutError ? new RequestTimeoutException() : error));
    return next.handle().pipe(timeout(30), catchError(giveUp));
  }
}

/** Looks something up for as long as the gate is shut. */
class SlowPipe implements PipeTransform {
  async transform(name: string): Promise<string> {
    await gate(`pipe-${name}`).opened;
    return name;
  }
}

@Controller('slow')
@UseInterceptors(TimeoutInterceptor)
class SlowController {
  @Post('works/:name')
  @Idempotent()
  async works(@Param('name') name: string): Promise<object> {
    const times = ran(name);
    await gate(name).opened;
    return { times };
  }

  @Post('waits/:name')
  @Idempotent()
  async waits(@Param('name', SlowPipe) name: string): Promise<object> {
    return { times: ran(name) };
  }

  @Post('nests/:name')
  @Idempotent()
  async nests(@Param('name') name: string): Promise<object> {
    const times = ran(name);
    await nextTurn();
    await this.inner();
    await gate(name).opened;
    return { times };
  }

  @Post('inner')
  @Idempotent()
  async inner(): Promise<void> {}

  @Post('refuses/:name')
  @Idempotent()
  async refuses(@Param('name') name: string): Promise<never> {
    const times = ran(name);
    await gate(name).opened;
    throw new NotFoundException({ times });
  }

  @Post('may-not/:name')
  @Idempotent()
  async mayNot(@Param('name') name: string): Promise<never> {
    ran(name);
    await gate(name).opened;
    throw new HttpException('not now', 429);
  }
}

describe.each(['express', 'fastify'] as const)('a handler that an interceptor inside gave up on %s', (platform) => {
  let http: HttpApp;
  beforeAll(async () => {
    http = await startHttpApp({ platform, controllers: [SlowController] });
  });
  beforeEach(() => runs.clear());
  afterAll(() => http.close());

  it.each([
    ['works', 409, { code: 'OPERATION_RESULT_UNAVAILABLE' }, 1],
    ['nests', 409, { code: 'OPERATION_RESULT_UNAVAILABLE' }, 1],
    ['refuses', 404, { times: 1 }, 1],
    ['may-not', 429, { message: 'not now' }, 2],
  ])('holds its key until it has ended: it is not run beside itself: %s', async (path, status, body, times) => {
    const name = `${path}-${platform}`;
    const url = `${http.url}/slow/${path}/${name}`;
    const key = randomUUID();
    expect((await send(url, { key })).status).toBe(408);
    expect(problem(await send(url, { key }))).toMatchObject({ status: 409, code: 'OPERATION_IN_PROGRESS' });
    expect(runs.get(name)).toBe(1);
    gate(name).open();
    await eventually(async () => {
      const answer = await send(url, { key });
      expect(answer.status).toBe(status);
      expect(problem(answer)).toMatchObject(body);
    });
    expect(runs.get(name)).toBe(times);
  });

  it('is not called any more once its key is free because a pipe was too slow', async () => {
    const name = `waits-${platform}`;
    const url = `${http.url}/slow/waits/${name}`;
    const key = randomUUID();
    expect((await send(url, { key })).status).toBe(408);
    gate(`pipe-${name}`).open();
    const again = await send(url, { key });
    expect([again.status, problem(again)]).toEqual([201, { times: 1 }]);
    expect(runs.get(name)).toBe(1);
  });
});
