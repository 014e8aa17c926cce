import 'reflect-metadata';
import { CoreModule, RequestContext, RequestEntry } from '@lockstep/core';
import { Controller, Get, type INestApplication, Module } from '@nestjs/common';
import { AbstractHttpAdapter, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { PLATFORMS, type Served, serve } from './support/platforms.js';

@Controller()
class SeenController {
  @Get('seen')
  seen(): object {
    return { has: RequestContext.current() !== undefined };
  }
}

@Module({ imports: [CoreModule], controllers: [SeenController] })
class SeenModule {}

interface Hooked {
  setOnRequestHook(hook: (request: unknown, response: unknown, done: (error?: Error) => void) => unknown): void;
}

describe.each(PLATFORMS)('the entry of requests on %s', (platform) => {
  let served: Served | undefined;
  afterEach(async () => {
    await served?.app.close();
    served = undefined;
  });

  async function start(
    hooks: Parameters<RequestEntry['add']>[0][],
    configure?: (app: INestApplication) => void,
  ): Promise<string> {
    served = await serve(platform, { imports: [SeenModule] }, configure);
    for (const hook of hooks) served.app.get(RequestEntry).add(hook);
    return `${served.url}/seen`;
  }

  it('runs its hooks one after the other, those that wait among them, each in the context of the request', async () => {
    const seen: string[] = [];
    const note = (name: string): undefined => {
      seen.push(`${name} ${RequestContext.current() !== undefined}`);
    };
    const url = await start([
      () => note('first'),
      async () => {
        await new Promise(setImmediate);
        note('second');
      },
      () => note('third'),
    ]);
    expect(await (await fetch(url)).json()).toEqual({ has: true });
    expect(seen).toEqual(['first true', 'second true', 'third true']);
  });

  it.each<[string, () => Promise<void> | undefined]>([
    [
      'throws',
      () => {
        throw new TypeError('a defect');
      },
    ],
    ['rejects', () => Promise.reject(new TypeError('a defect'))],
    // biome-ignore lint/suspicious/noEmptyBlockStatements: a reason that is none
    ['rejects without a reason', () => Promise.reject()],
  ])('answers 500 where a hook %s, lets nothing run behind it, and goes on', async (_how, failing) => {
    let isFailing = true;
    let behind = 0;
    const url = await start([
      async () => undefined,
      () => (isFailing ? failing() : undefined),
      () => {
        behind += 1;
        return undefined;
      },
    ]);
    expect((await fetch(url)).status).toBe(500);
    expect((await fetch(`${url}/nowhere`)).status).toBe(500);
    expect(behind).toBe(0);
    isFailing = false;
    expect((await fetch(url)).status).toBe(200);
    expect(behind).toBe(1);
  });

  it.each<[string, Parameters<Hooked['setOnRequestHook']>[0]]>([
    ['is called back with', (_request, _response, done) => done(new Error('refused'))],
    [
      'throws',
      () => {
        throw new Error('refused');
      },
    ],
    ['rejects with', () => Promise.reject(new Error('refused'))],
  ])('answers 500 where the hook of others %s an error', async (_how, hook) => {
    const url = await start([], (app) => (app.getHttpAdapter() as unknown as Hooked).setOnRequestHook(hook));
    expect((await fetch(url)).status).toBe(500);
  });

  it.each([
    ['has no hook', undefined],
    ['has inherited one that nobody calls', AbstractHttpAdapter.prototype.setOnRequestHook],
  ])('is a middleware where the adapter %s', async (_what, setOnRequestHook) => {
    const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
    Object.assign(adapter, { setOnRequestHook });
    const app = await NestFactory.create(SeenModule, adapter, { logger: false });
    app.setGlobalPrefix('api');
    let entered = 0;
    app.get(RequestEntry).add(async () => {
      entered += 1;
    });
    await app.listen(0, '127.0.0.1');
    expect(await (await fetch(`${await app.getUrl()}/api/seen`)).json()).toEqual({ has: true });
    expect(entered).toBe(1);
    await app.close();
  });

  it('is there in an application that a test has made', async () => {
    const module = await Test.createTestingModule({ imports: [SeenModule] }).compile();
    const app = module.createNestApplication({ logger: false });
    let entered = 0;
    app.get(RequestEntry).add(() => {
      entered += 1;
      return undefined;
    });
    await app.listen(0, '127.0.0.1');
    expect(await (await fetch(`${await app.getUrl()}/seen`)).json()).toEqual({ has: true });
    expect(entered).toBe(1);
    await app.close();
  });
});

describe('the entry of requests', () => {
  it('asks for nothing where there is no HTTP', async () => {
    const app = await NestFactory.createApplicationContext(SeenModule, { logger: false });
    expect(app.get(RequestEntry).isInstalled).toBe(true);
    await app.close();
  });
});
