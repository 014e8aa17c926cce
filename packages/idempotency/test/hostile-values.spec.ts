import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { isLockstepError } from '@lockstep/core';
import { Idempotent } from '@lockstep/idempotency';
import { Controller, HttpException, type INestApplication, Post, Res } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { type HttpApp, problem, send, startHttpApp } from './support/http-app.js';

function trap(): never {
  throw new Error('looked at');
}

/** Throws whatever one asks it. */
const untouchable: unknown = new Proxy({}, { get: trap, has: trap, getPrototypeOf: trap, ownKeys: trap });

class Broken extends HttpException {
  override getStatus(): number {
    return trap();
  }
}

const broken = new Broken('broken', 500);

@Controller('hostile')
class Hostile {
  @Post('uncertain')
  @Idempotent()
  async uncertain(): Promise<never> {
    throw untouchable;
  }

  @Post('retry')
  @Idempotent({ onLeaseExpiry: 'retry' })
  async retry(): Promise<never> {
    throw untouchable;
  }

  @Post('status')
  @Idempotent()
  async status(): Promise<never> {
    throw broken;
  }

  @Post('answer')
  @Idempotent()
  async answer(): Promise<object> {
    return {
      get stream(): never {
        return trap();
      },
    };
  }

  @Post('refusing-answer')
  @Idempotent()
  async refusingAnswer(@Res({ passthrough: true }) response: ServerResponse): Promise<object> {
    response.statusCode = 422;
    return {
      get message(): never {
        return trap();
      },
    };
  }

  @Post('untouchable-answer')
  @Idempotent()
  async untouchableAnswer(): Promise<unknown> {
    return [untouchable];
  }

  @Post('symbol')
  @Idempotent()
  async symbol(): Promise<unknown> {
    return Symbol('sent as text or as nothing');
  }

  @Post('function')
  @Idempotent()
  async function(): Promise<unknown> {
    return trap;
  }

  @Post('error')
  @Idempotent()
  async error(): Promise<unknown> {
    return new Error('sent as 201 or as 500');
  }
}

/** Notes what leaves the interceptor, and gives the client an answer of its own. */
function noting(thrown: unknown[]): (app: INestApplication) => void {
  return (app) =>
    app.useGlobalFilters({
      catch: (error: unknown, host) => {
        thrown.push(error);
        const response: { status(code: number): { send(body: unknown): void } } = host.switchToHttp().getResponse();
        const isOurs = error !== untouchable && isLockstepError(error);
        response.status(500).send({ code: isOurs ? error.code : 'none' });
      },
    });
}

async function start(thrown: unknown[] = []): Promise<HttpApp> {
  return startHttpApp({
    platform: 'express',
    controllers: [Hostile],
    options: { lease: '10s' },
    configure: noting(thrown),
  });
}

describe('a handler that throws what throws when it is looked at', () => {
  it.each([
    ['uncertain', untouchable],
    ['status', broken],
  ])('ends its claim by onLeaseExpiry, and the original error goes on: %s', async (path, original) => {
    const thrown: unknown[] = [];
    const http = await start(thrown);
    const key = randomUUID();
    await send(`${http.url}/hostile/${path}`, { key });
    expect(thrown[0] === original).toBe(true);
    const again = await send(`${http.url}/hostile/${path}`, { key });
    expect(problem(again)).toMatchObject({ code: 'OPERATION_UNCERTAIN' });
    expect(http.incidents.map(({ code }) => code)).toEqual(['ON_ERROR_FAILED']);
    await http.close();
  });

  it("frees the key at once under 'retry'", async () => {
    const thrown: unknown[] = [];
    const http = await start(thrown);
    const key = randomUUID();
    for (let i = 0; i < 2; i += 1) await send(`${http.url}/hostile/retry`, { key });
    expect(thrown.map((error) => error === untouchable)).toEqual([true, true]);
    await http.close();
  });
});

describe('a handler whose answer cannot be told again is known to have taken effect', () => {
  it.each(['answer', 'untouchable-answer', 'refusing-answer'])(
    'where it throws when it is looked at: %s',
    async (path) => {
      const http = await start();
      const key = randomUUID();
      await send(`${http.url}/hostile/${path}`, { key });
      const again = await send(`${http.url}/hostile/${path}`, { key });
      expect(problem(again)).toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
      expect(http.incidents.map(({ code }) => code)).toContain('ANSWER_NOT_STORED');
      await http.close();
    },
  );

  it.each(['symbol', 'function', 'error'])('where servers make something of their own of it: %s', async (path) => {
    const http = await start();
    const key = randomUUID();
    await send(`${http.url}/hostile/${path}`, { key });
    const again = await send(`${http.url}/hostile/${path}`, { key });
    expect(problem(again)).toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
    await http.close();
  });
});
