import 'reflect-metadata';
import { AsyncResource } from 'node:async_hooks';
import { EventEmitter, once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { RequestContext } from '@lockstep/core';
import { CurrentSession, SessionMisuseError, type SessionRef, SessionService } from '@lockstep/session';
import {
  Body,
  type CallHandler,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Inject,
  Injectable,
  type NestInterceptor,
  Param,
  Post,
  Scope,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { delay, from, map, mergeMap, type Observable, tap, toArray } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';

/** A provider that knows nothing of HTTP. */
@Injectable()
class Deep {
  constructor(@Inject(SessionService) private readonly sessions: SessionService) {}

  /** Both ways to the user; they must agree. */
  who(): string {
    const principal = RequestContext.current()?.principal?.id ?? 'nobody';
    const session = this.sessions.find()?.principal?.id ?? 'nobody';
    return principal === session ? principal : `${principal} or ${session}`;
  }
}

@Injectable({ scope: Scope.REQUEST })
class Scoped {
  readonly made: string;

  constructor(@Inject(Deep) private readonly deep: Deep) {
    this.made = deep.who();
  }

  now(): string {
    return this.deep.who();
  }
}

@Injectable()
class Watching implements CanActivate, NestInterceptor {
  static readonly seen: string[] = [];

  constructor(@Inject(Deep) private readonly deep: Deep) {}

  canActivate(_context: ExecutionContext): boolean {
    Watching.seen.push(`guard ${this.deep.who()}`);
    return true;
  }

  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    Watching.seen.push(`before ${this.deep.who()}`);
    return next.handle().pipe(tap(() => Watching.seen.push(`after ${this.deep.who()}`)));
  }
}

/** Emits outside of any request, as a pool of connections does. */
const pool = new EventEmitter().setMaxListeners(0);
const left: { later: () => string }[] = [];

@Controller()
class ContextController {
  constructor(
    @Inject(Deep) private readonly deep: Deep,
    @Inject(Scoped) private readonly scoped: Scoped,
    @Inject(SessionService) private readonly sessions: SessionService,
  ) {}

  @Post('everywhere')
  async everywhere(@Body() body: { text: string }): Promise<object> {
    const { deep } = this;
    const seen: Record<string, unknown> = { sync: deep.who(), length: body.text.length };
    await Promise.resolve();
    seen['await'] = deep.who();
    seen['timer'] = await new Promise((resolve) => setTimeout(() => resolve(deep.who()), 5));
    seen['immediate'] = await new Promise((resolve) => setImmediate(() => resolve(deep.who())));
    seen['all'] = await Promise.all([1, 2].map(async (ms) => new Promise((r) => setTimeout(() => r(deep.who()), ms))));
    const heard = new Promise((resolve) =>
      pool.once(
        'event',
        AsyncResource.bind(() => resolve(deep.who())),
      ),
    );
    pool.emit('wanted');
    seen['emitter'] = await heard;
    await once(pool, 'event');
    seen['once'] = deep.who();
    seen['scoped'] = [this.scoped.made, this.scoped.now()];
    return seen;
  }

  @Get('stream')
  stream(): Observable<string[]> {
    const numbers = from([1, 2, 3]);
    return numbers.pipe(
      mergeMap(async (number) => number),
      delay(3),
      map(() => this.deep.who()),
      toArray(),
    );
  }

  @Get('watched')
  @UseGuards(Watching)
  @UseInterceptors(Watching)
  watched(): object {
    return {};
  }

  @Post('login/:id')
  async login(@CurrentSession() session: SessionRef, @Param('id') id: string): Promise<object> {
    const before = this.deep.who();
    await session.login({ id });
    const after = this.deep.who();
    await session.logout();
    const gone = this.deep.who();
    await Promise.all([session.login({ id })]);
    await nextTurn();
    return { before, after, gone, again: this.deep.who(), scoped: this.scoped.now() };
  }

  @Post('logout')
  async logout(@CurrentSession() session: SessionRef): Promise<object> {
    await session.logout();
    return { after: this.deep.who(), here: this.sessions.current === session };
  }

  @Post('leave')
  leave(): object {
    left.push({ later: () => this.deep.who() });
    return {};
  }
}

describe.each(PLATFORMS)('the user of a request on %s', (platform) => {
  let app: HttpApp;
  beforeAll(async () => {
    app = await startHttpApp({
      platform,
      controllers: [ContextController],
      providers: [Deep, Scoped, Watching],
    });
  });
  afterAll(() => app.close());

  async function loggedIn(id: string): Promise<Browser> {
    const browser = new Browser(app.url);
    await browser.post(`/login/${id}`);
    return browser;
  }

  /** Emits for whoever waits, from outside of all requests. */
  async function withEmitter<T>(fn: () => Promise<T>): Promise<T> {
    const timer = setInterval(() => pool.emit('event'), 2);
    try {
      return await fn();
    } finally {
      clearInterval(timer);
    }
  }

  const everywhere = (id: string, length: number): object => ({
    sync: id,
    length,
    await: id,
    timer: id,
    immediate: id,
    all: [id, id],
    emitter: id,
    once: id,
    scoped: [id, id],
  });

  it('is known behind a body, awaits, timers, immediates, emitters, and in providers of any scope', async () => {
    const browser = await loggedIn('alice');
    const text = 'x'.repeat(70_000);
    const answer = await withEmitter(() => browser.post('/everywhere', { text }));
    expect(answer.json).toEqual(everywhere('alice', text.length));
  });

  it('is known to the operators of an Observable that a handler returns', async () => {
    expect((await (await loggedIn('bob')).get('/stream')).json).toEqual(['bob', 'bob', 'bob']);
  });

  it('is known to guards and on both sides of interceptors', async () => {
    const browser = await loggedIn('carol');
    Watching.seen.length = 0;
    await browser.get('/watched');
    expect(Watching.seen).toEqual(['guard carol', 'before carol', 'after carol']);
  });

  it('is never that of another one: 40 requests of 8 users and of visitors side by side see their own', async () => {
    const users = Array.from({ length: 8 }, (_, index) => `user-${index}`);
    const browsers = await Promise.all(users.map(async (id) => ({ id, browser: await loggedIn(id) })));
    const clients = [
      ...browsers,
      { id: 'nobody', browser: new Browser(app.url) },
      { id: 'nobody', browser: new Browser(app.url) },
    ];
    const answers = await withEmitter(() =>
      Promise.all(
        Array.from({ length: 40 }, async (_, index) => {
          const { id, browser } = clients[index % clients.length] as (typeof clients)[number];
          if (index % 3 === 2) {
            return { got: (await browser.clone().get('/stream')).json, expected: [id, id, id] };
          }
          const text = 'y'.repeat(index * 500);
          return {
            got: (await browser.clone().post('/everywhere', { text })).json,
            expected: everywhere(id, text.length),
          };
        }),
      ),
    );
    expect(answers.map(({ got }) => got)).toEqual(answers.map(({ expected }) => expected));
  });

  it('changes at once with a login and with a logout', async () => {
    const browser = new Browser(app.url);
    const expected = { before: 'nobody', after: 'dora', gone: 'nobody', again: 'dora', scoped: 'dora' };
    expect((await browser.post('/login/dora')).json).toEqual(expected);
    expect((await browser.post('/logout')).json).toEqual({ after: 'nobody', here: true });
  });

  it('does not leak out of its request', async () => {
    const browser = await loggedIn('eve');
    await browser.post('/leave');
    expect(left.map(({ later }) => later()).at(-1)).toBe('nobody');
    expect(RequestContext.current()).toBeUndefined();
    expect(app.sessions.find()).toBeUndefined();
    expect(() => app.sessions.current).toThrow(SessionMisuseError);
    const agentHeaders = { connection: 'keep-alive' };
    const visitor = new Browser(app.url, agentHeaders);
    expect((await visitor.get('/stream')).json).toEqual(['nobody', 'nobody', 'nobody']);
  });
});
