import 'reflect-metadata';
import { request as httpRequest, type ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import {
  ConfigurationError,
  CoreModule,
  type ErrorKind,
  Incidents,
  isLockstepError,
  LockstepError,
  StoreUnavailableError,
} from '@lockstep/core';
import { freePort } from '@lockstep/testing';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  Head,
  HttpException,
  Injectable,
  type MiddlewareConsumer,
  Module,
  type NestModule,
  Query,
  Res,
  UseFilters,
} from '@nestjs/common';
import { APP_FILTER, ExternalContextCreator } from '@nestjs/core';
import {
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { lastValueFrom } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PLATFORMS, type Served, serve } from './support/platforms.js';

class SoldOutError extends LockstepError {
  constructor() {
    super({
      code: 'SOLD_OUT',
      kind: 'conflict',
      message: 'nothing left',
      httpStatus: 422,
      fields: { sku: 'a', status: 1 },
    });
  }
}

const ERRORS: Record<string, () => unknown> = {
  busy: () => new LockstepError({ code: 'LOCK_BUSY', kind: 'busy', message: 'held', retryAfterMs: 1_200 }),
  unavailable: () =>
    new StoreUnavailableError({
      store: 'redis',
      operation: 'lock.acquire',
      outcome: 'not-applied',
      cause: new Error('connect ECONNREFUSED 10.0.0.7:6379'),
    }),
  unknown: () => new LockstepError({ code: 'COMMIT_OUTCOME_UNKNOWN', kind: 'unknown', message: 'no answer to commit' }),
  misuse: () => ConfigurationError.option('lock.secretPath', '/etc/inside', 'something else'),
  hint: () => new SoldOutError(),
  forever: () => new LockstepError({ code: 'X', kind: 'busy', message: 'x', retryAfterMs: Number.POSITIVE_INFINITY }),
  http: () => new HttpException('teapot', 418),
  plain: () => new Error('plain'),
};

function raise(name: string): never {
  const make = ERRORS[name];
  throw make ? make() : new Error(name);
}

@Catch(SoldOutError)
class SoldOutFilter implements ExceptionFilter {
  constructor(private readonly status = 410) {}
  catch(_error: SoldOutError, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
    response.status(this.status).send('gone');
  }
}

@Controller()
class FailingController {
  @Get('fail')
  fail(@Query('with') name: string): never {
    raise(name);
  }

  @Head('head-only')
  head(): never {
    raise('busy');
  }

  @Get('own-filter')
  @UseFilters(new SoldOutFilter())
  own(): never {
    raise('hint');
  }

  @Get('begun')
  begun(@Res() reply: ServerResponse & { raw?: ServerResponse }): never {
    const response = reply.raw ?? reply;
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.write('half of it');
    raise('busy');
  }

  @Get('handed-over')
  handedOver(@Res() reply: { send(text: string): void }): never {
    reply.send('all of it');
    raise('busy');
  }

  @Get('complete')
  complete(@Res() reply: ServerResponse & { raw?: ServerResponse }): never {
    (reply.raw ?? reply).end('all of it');
    raise('busy');
  }
}

@Module({ imports: [CoreModule], controllers: [FailingController] })
class FailingModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    const middleware = (request: { headers: Record<string, unknown> }, _response: unknown, next: () => void) => {
      if (request.headers['x-middleware'] !== undefined) raise('busy');
      next();
    };
    consumer.apply(middleware).forRoutes('fail');
  }
}

@Module({ providers: [{ provide: APP_FILTER, useFactory: () => new SoldOutFilter(411) }] })
class FiltersModule {}

describe.each(PLATFORMS)('over HTTP on %s', (platform) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(platform, { imports: [FailingModule] }, (app) => {
      // A plugin such as compression: the answer is ready before its first byte leaves.
      if (platform === 'fastify')
        app
          .getHttpAdapter()
          .getInstance()
          .addHook('onSend', () => nextTurn());
    });
  });
  afterAll(() => served.app.close());

  async function get(path: string, init?: RequestInit) {
    const response = await fetch(`${served.url}/${path}`, init);
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: text ? tryJson(text) : undefined };
  }

  it('answers with a problem document that no cache keeps, and says when to try again', async () => {
    const { status, headers, body } = await get('fail?with=busy');
    expect(status).toBe(423);
    expect(headers.get('content-type')).toBe('application/problem+json');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('retry-after')).toBe('2');
    expect(body).toEqual({
      type: 'about:blank',
      title: 'Somebody else is working on it',
      status: 423,
      detail: 'held',
      code: 'LOCK_BUSY',
      kind: 'busy',
      retryable: true,
    });
  });

  it('answers 503 with Retry-After while a store is away, and does not tell where it lives', async () => {
    const incidents: string[] = [];
    const unsubscribe = served.app.get(Incidents).subscribe(({ code }) => incidents.push(code));
    const { status, headers, body, text } = await get('fail?with=unavailable');
    unsubscribe();
    expect([status, headers.get('retry-after')]).toEqual([503, '1']);
    expect(body).toMatchObject({ store: 'redis', operation: 'lock.acquire', outcome: 'not-applied', retryable: true });
    expect(text).not.toContain('10.0.0.7');
    expect(incidents).toEqual(['STORE_UNAVAILABLE']);
  });

  it.each<[string, number, ErrorKind, string]>([
    ['unknown', 500, 'unknown', 'The outcome is unknown'],
    ['hint', 422, 'conflict', 'The request cannot be accepted as it is'],
    ['forever', 423, 'busy', 'Somebody else is working on it'],
  ])('answers %s with %i, a title that fits it and no Retry-After', async (name, status, kind, title) => {
    const answer = await get(`fail?with=${name}`);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ status, kind, title });
    expect(answer.headers.has('retry-after')).toBe(false);
  });

  it('keeps the inside of a misuse for the operator', async () => {
    const { status, text, body } = await get('fail?with=misuse');
    expect(status).toBe(500);
    expect(body).toMatchObject({ code: 'CONFIGURATION_INVALID', detail: 'The service is not set up correctly' });
    expect(text).not.toContain('secretPath');
    expect(text).not.toContain('inside');
  });

  it('answers HEAD with the headers alone', async () => {
    for (const path of ['fail?with=busy', 'head-only']) {
      const { status, headers, text } = await get(path, { method: 'HEAD' });
      expect([status, text, headers.get('content-type')]).toEqual([423, '', 'application/problem+json']);
    }
  });

  it('answers what a middleware raises', async () => {
    const { status, headers, body } = await get('fail', { headers: { 'x-middleware': '1' } });
    expect([status, headers.get('content-type')]).toEqual([423, 'application/problem+json']);
    expect(body).toMatchObject({ code: 'LOCK_BUSY' });
  });

  it('cuts an answer that had begun, so that half of it does not look whole, and reports that', async () => {
    const incidents: string[] = [];
    const unsubscribe = served.app.get(Incidents).subscribe(({ message }) => incidents.push(message));
    await expect(readToEnd(`${served.url}/begun`)).rejects.toThrow();
    unsubscribe();
    expect(incidents).toEqual(['LOCK_BUSY was raised after the answer had begun; it was cut']);
  });

  it('leaves an answer alone that was handed over before', async () => {
    expect(await readToEnd(`${served.url}/handed-over`)).toBe('all of it');
  });

  it('leaves an answer alone that was complete', async () => {
    expect(await readToEnd(`${served.url}/complete`)).toBe('all of it');
  });

  it('leaves other errors to Nest, and its own to the filters of the application', async () => {
    expect(await get('fail?with=http')).toMatchObject({ status: 418, body: { message: 'teapot' } });
    expect(await get('fail?with=plain')).toMatchObject({ status: 500, body: { message: 'Internal server error' } });
    expect(await get('own-filter')).toMatchObject({ status: 410, text: 'gone' });
  });

  it('lets a global filter of the application go first, added or provided by a module that is imported after', async () => {
    const provided = await serve(platform, { imports: [FailingModule, FiltersModule] });
    const added = await serve(platform, { imports: [FailingModule] }, (app) =>
      app.useGlobalFilters(new SoldOutFilter(412)),
    );
    expect((await fetch(`${provided.url}/fail?with=hint`)).status).toBe(411);
    expect((await fetch(`${added.url}/fail?with=hint`)).status).toBe(412);
    expect((await fetch(`${added.url}/fail?with=busy`)).status).toBe(423);
    await provided.app.close();
    await added.app.close();
  });

  it('recognises the errors of another copy of the package', async () => {
    const copy = await anotherCopy();
    const foreign = new copy.LockstepError({ code: 'FOREIGN', kind: 'busy', message: 'other copy' });
    expect(copy.LockstepError).not.toBe(LockstepError);
    expect(foreign).toBeInstanceOf(LockstepError);
    expect(foreign).not.toBeInstanceOf(StoreUnavailableError);
    expect(isLockstepError(foreign)).toBe(true);
    ERRORS.foreign = () => foreign;
    const { status, body } = await get('fail?with=foreign');
    expect(status).toBe(423);
    expect(body).toMatchObject({ code: 'FOREIGN' });
  });
});

@Controller()
class FailingMessages {
  @MessagePattern('fail')
  fail(@Payload() name: string): never {
    raise(name);
  }
}

@Injectable()
class FailingHandler {
  async handle(): Promise<never> {
    raise('busy');
  }
}

describe('elsewhere', () => {
  it('answers RPC with an error object that says whether to try again', async () => {
    const options = { transport: Transport.TCP as const, options: { host: '127.0.0.1', port: await freePort() } };
    const module = await Test.createTestingModule({ imports: [CoreModule], controllers: [FailingMessages] }).compile();
    const app = module.createNestMicroservice<MicroserviceOptions>({ ...options, logger: false });
    await app.listen();
    const client = ClientProxyFactory.create(options);
    const failWith = (name: string) => lastValueFrom(client.send('fail', name)).catch((error: unknown) => error);
    expect(await failWith('busy')).toEqual({
      status: 'error',
      message: 'held',
      code: 'LOCK_BUSY',
      kind: 'busy',
      retryable: true,
      retryAfterMs: 1_200,
    });
    expect(await failWith('misuse')).toMatchObject({
      message: 'The service is not set up correctly',
      retryable: false,
    });
    expect(await failWith('hint')).toMatchObject({ status: 'error', sku: 'a', code: 'SOLD_OUT' });
    expect(await failWith('plain')).toEqual({ status: 'error', message: 'Internal server error' });
    client.close();
    await app.close();
  });

  it.each([
    ['busy', 'held'],
    ['misuse', 'The service is not set up correctly'],
  ])('gives GraphQL an error with extensions (%s)', async (name, message) => {
    const error = await runExternally('graphql', name);
    expect(error).toMatchObject({ message, extensions: { kind: name, retryable: name === 'busy' } });
  });

  it('throws on in a handler of messages, which else would count as done', async () => {
    expect(await runExternally('lockstep', 'busy')).toBeInstanceOf(LockstepError);
  });
});

/** What a handler found by discovery rejects with, run as Nest runs it: with pipes, guards, interceptors and filters. */
async function runExternally(contextType: string, name: string): Promise<unknown> {
  const app = await Test.createTestingModule({ imports: [CoreModule], providers: [FailingHandler] }).compile();
  await app.init();
  const handler = app.get(FailingHandler);
  const failing = async () => raise(name);
  const run = app
    .get(ExternalContextCreator, { strict: false })
    .create(handler, failing, 'handle', undefined, undefined, undefined, undefined, undefined, contextType);
  const outcome = await run().then(
    () => 'resolved',
    (error: unknown) => error,
  );
  await app.close();
  return outcome;
}

async function anotherCopy(): Promise<{ LockstepError: typeof LockstepError }> {
  const entry = pathToFileURL(new URL('../dist/errors/lockstep-error.js', import.meta.url).pathname);
  return import(/* @vite-ignore */ `${entry.href}?copy`);
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Rejects when the connection ends before the answer does. */
function readToEnd(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', reject).on('end', () => resolve(text));
    });
    request.on('error', reject).end();
  });
}
