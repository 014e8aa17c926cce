import 'reflect-metadata';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CoreModule, RequestContext } from '@lockstep/core';
import {
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Module,
  Param,
  Post,
  RequestMethod,
  UseGuards,
} from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PLATFORMS, type Served, serve } from './support/platforms.js';

/** What authentication does: it says who is asking, before the handler runs. */
class Authentication implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    await nextTurn();
    const user = context.switchToHttp().getRequest<{ headers: Record<string, string> }>().headers['x-user'];
    const current = RequestContext.current();
    if (current && user !== undefined) current.principal = { id: user };
    return true;
  }
}

@Controller()
@UseGuards(Authentication)
class WhoController {
  @Get()
  root(): object {
    return this.answer();
  }

  @Get('who/:turns')
  async who(@Param('turns') turns: string): Promise<object> {
    const before = RequestContext.current()?.id;
    for (let turn = 0; turn < Number(turns); turn++) await nextTurn();
    return { ...this.answer(), same: before === RequestContext.current()?.id };
  }

  @Post('body')
  body(@Body() body: object): object {
    return { ...this.answer(), body };
  }

  @Get('health')
  health(): object {
    return this.answer();
  }

  private answer(): object {
    const context = RequestContext.current();
    return { id: context?.id, principal: context?.principal?.id };
  }
}

@Module({ imports: [CoreModule], controllers: [WhoController] })
class WhoModule {}

interface Answer {
  readonly id?: string;
  readonly principal?: string;
  readonly same?: boolean;
}

async function ask(url: string, user?: string): Promise<Answer> {
  const response = await fetch(url, { headers: user === undefined ? {} : { 'x-user': user } });
  return response.json() as Promise<Answer>;
}

describe.each(PLATFORMS)('the request context on %s', (platform) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(platform, { imports: [WhoModule] });
  });
  afterAll(() => served.app.close());

  it('is there on every path, the root included, and anew for each request', async () => {
    const ids = [(await ask(served.url)).id, (await ask(`${served.url}/`)).id, (await ask(`${served.url}/health`)).id];
    expect(ids).toEqual([expect.any(String), expect.any(String), expect.any(String)]);
    expect(new Set(ids).size).toBe(3);
  });

  it('follows a request through every await and keeps concurrent ones apart', async () => {
    const users = Array.from({ length: 40 }, (_, index) => (index % 4 === 0 ? undefined : `user-${index}`));
    const answers = await Promise.all(users.map((user, index) => ask(`${served.url}/who/${index % 7}`, user)));
    expect(answers.map(({ principal }) => principal)).toEqual(users);
    expect(answers.every(({ same }) => same)).toBe(true);
    expect(new Set(answers.map(({ id }) => id)).size).toBe(users.length);
  });

  it('outlives a body that arrives late and in pieces', async () => {
    const answer = await postInPieces(new URL(served.url));
    expect(answer).toContain('"principal":"slow"');
    expect(answer).toContain('"body":{"a":1}');
  });

  it('is there in the adapter hook of others, which runs inside, and in a middleware that was there first', async () => {
    const seen: Record<string, string | undefined> = {};
    const hooked = await serve(platform, { imports: [WhoModule] }, (app) => {
      const adapter = app.getHttpAdapter() as unknown as {
        setOnRequestHook(hook: (request: unknown, response: unknown, done: () => void) => void): void;
      };
      adapter.setOnRequestHook((_request, _response, done) => {
        seen['hook'] = RequestContext.current()?.id;
        done();
      });
      app.use((_request: unknown, _response: unknown, next: () => void) => {
        seen['middleware'] = RequestContext.current()?.id;
        next();
      });
    });
    const { id } = await ask(hooked.url);
    expect(seen).toEqual({ hook: id, middleware: id });
    await hooked.app.close();
  });

  it('does not leak out of the request', () => {
    expect(RequestContext.current()).toBeUndefined();
  });

  it('is there under a global prefix and on the routes that are excluded from it', async () => {
    const prefixed = await serve(platform, { imports: [WhoModule] }, (app) =>
      app.setGlobalPrefix('api', { exclude: [{ path: 'health', method: RequestMethod.GET }] }),
    );
    for (const path of ['/api', '/api/who/1', '/health']) {
      expect(await ask(`${prefixed.url}${path}`, 'me'), path).toMatchObject({
        id: expect.any(String),
        principal: 'me',
      });
    }
    await prefixed.app.close();
  });
});

/** The second half of the body leaves only after the server has begun with the request. */
async function postInPieces(url: URL): Promise<string> {
  const socket = connect(Number(url.port), url.hostname);
  await once(socket, 'connect');
  const head = 'POST /body HTTP/1.1\r\nHost: x\r\nX-User: slow\r\nConnection: close\r\n';
  socket.write(`${head}Content-Type: application/json\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n`);
  await once(socket, 'data');
  socket.write('{"a":');
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  socket.write('1}');
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}
