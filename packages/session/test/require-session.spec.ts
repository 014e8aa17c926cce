import 'reflect-metadata';
import { RequestContext } from '@lockstep/core';
import {
  CurrentSession,
  NoSession,
  ReadonlySession,
  RequireSession,
  type SessionRef,
  SessionService,
} from '@lockstep/session';
import { Controller, Get, Inject, Injectable, Param, Post, Session } from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { ShakyStore } from './support/shaky-store.js';

@Controller()
class OpenController {
  @Post('set')
  set(@CurrentSession() session: SessionRef): object {
    session.set('cart', ['tea']);
    return { ok: true };
  }

  @Post('login/:id')
  async login(@CurrentSession() session: SessionRef, @Param('id') id: string): Promise<object> {
    await session.login({ id });
    return { ok: true };
  }

  @RequireSession({ principal: false })
  @Get('with-session')
  withSession(): object {
    return { ok: true };
  }
}

@RequireSession({ maxAge: '5m' })
@Controller('account')
class AccountController {
  @Get()
  show(@CurrentSession() session: SessionRef): object {
    return { id: session.principal?.id };
  }

  @RequireSession()
  @Get('relaxed')
  relaxed(): object {
    return { ok: true };
  }
}

@ReadonlySession()
@Controller('looks')
class LookingController {
  @Get('cart')
  cart(@Session() session: { cart: string[] }): object {
    session.cart.push('changed in place');
    return session.cart;
  }

  @Post(':write')
  async write(@CurrentSession() session: SessionRef, @Param('write') write: string): Promise<object> {
    const writes: Record<string, () => unknown> = {
      set: () => session.set('color', 'red'),
      delete: () => session.delete('cart'),
      clear: () => session.clear(),
      update: () => session.update('color', () => 'red'),
      save: () => session.save(),
      login: () => session.login({ id: 'eve' }),
      logout: () => session.logout(),
      rotate: () => session.rotate(),
    };
    await writes[write]?.();
    return { ok: true };
  }
}

/** As a resolver of GraphQL is called: by a context of its own kind, inside of an HTTP request. */
@Injectable()
class CartResolver {
  @RequireSession()
  cart(@CurrentSession() session: SessionRef): string | undefined {
    return session.principal?.id;
  }

  @ReadonlySession()
  looks(@CurrentSession() session: SessionRef): void {
    session.set('color', 'red');
  }

  @NoSession()
  none(sessions: SessionService): unknown {
    return sessions.current.get('color');
  }
}

@Controller('graph')
class GraphController {
  constructor(
    @Inject(ExternalContextCreator) private readonly creator: ExternalContextCreator,
    @Inject(CartResolver) private readonly resolver: CartResolver,
    @Inject(SessionService) private readonly sessions: SessionService,
  ) {}

  @Get(':field')
  async resolve(@Param('field') field: 'cart' | 'looks' | 'none'): Promise<object> {
    try {
      return { value: (await this.call(field)) ?? null };
    } catch (error) {
      return { error: (error as Error).message };
    }
  }

  call(field: 'cart' | 'looks' | 'none', kind = 'graphql'): Promise<unknown> {
    const { resolver } = this;
    const factory = { exchangeKeyForValue: (_type: unknown, _data: unknown, args: unknown[]) => args[0] };
    const method = field === 'none' ? resolver.none : resolver[field];
    const call = this.creator.create(
      resolver,
      method as (...args: unknown[]) => unknown,
      field,
      '__routeArguments__',
      factory as never,
      undefined,
      undefined,
      { guards: true, interceptors: true, filters: false },
      kind,
    );
    return call(this.sessions) as Promise<unknown>;
  }
}

describe.each(PLATFORMS)('a route on %s that requires a session', (platform) => {
  let nowMs = 1_700_000_000_000;
  const store = new ShakyStore({ nowMs: () => nowMs });
  let shop: HttpApp;
  beforeAll(async () => {
    shop = await startHttpApp({
      platform,
      controllers: [OpenController, AccountController, LookingController, GraphController],
      providers: [CartResolver],
      session: { store: store.driver },
    });
  });
  afterAll(() => shop.close());

  const visitor = (): Browser => new Browser(shop.url);

  it('lets in who is logged in, and answers 401 to everybody else', async () => {
    const browser = visitor();
    const refused = await browser.get('/account');
    expect(refused.status).toBe(401);
    expect(refused.headers.get('content-type')).toBe('application/problem+json');
    expect(refused.json).toMatchObject({ code: 'SESSION_REQUIRED', reason: 'no-session', status: 401 });
    await browser.post('/set');
    expect((await browser.get('/account')).json).toMatchObject({ code: 'SESSION_REQUIRED', reason: 'no-principal' });
    await browser.post('/login/bob');
    expect((await browser.get('/account')).json).toEqual({ id: 'bob' });
  });

  it('is content with a session of nobody where it says so', async () => {
    const browser = visitor();
    expect((await browser.get('/with-session')).status).toBe(401);
    await browser.post('/set');
    expect((await browser.get('/with-session')).status).toBe(200);
  });

  it('asks for another login when the last one is too old by the clock of the store, the method before the class', async () => {
    const browser = visitor();
    await browser.post('/login/bob');
    nowMs += 5 * 60_000;
    expect((await browser.get('/account')).status).toBe(200);
    nowMs += 1;
    const answer = await browser.get('/account');
    expect(answer.status).toBe(401);
    expect(answer.json).toMatchObject({ code: 'LOGIN_TOO_OLD', reason: 'login-too-old' });
    expect((await browser.get('/account/relaxed')).status).toBe(200);
    await browser.post('/login/bob');
    expect((await browser.get('/account')).status).toBe(200);
  });

  it.each(['set', 'delete', 'clear', 'update', 'save', 'login', 'logout', 'rotate'])(
    'refuses %s where it is marked with @ReadonlySession(), and writes nothing',
    async (write) => {
      const browser = visitor();
      await browser.post('/set');
      await browser.post('/login/bob');
      const token = browser.token;
      const before = store.asked.length;
      const answer = await browser.post(`/looks/${write}`);
      expect(answer.status).toBe(500);
      expect(answer.json).toMatchObject({ code: 'SESSION_MISUSE' });
      expect(answer.setCookies).toEqual([]);
      expect(store.asked.slice(before)).toEqual(['load']);
      expect(browser.token).toBe(token);
      expect((await browser.get('/account')).json).toEqual({ id: 'bob' });
    },
  );

  it('does not look again at a value where it is marked with @ReadonlySession()', async () => {
    const browser = visitor();
    await browser.post('/set');
    const before = store.asked.length;
    expect((await browser.get('/looks/cart')).json).toEqual(['tea', 'changed in place']);
    expect((await browser.get('/looks/cart')).json).toEqual(['tea', 'changed in place']);
    expect(store.asked.slice(before)).toEqual(['load', 'load']);
  });

  it('is guarded in a resolver of GraphQL as in a controller', async () => {
    const browser = visitor();
    await browser.post('/set');
    expect((await browser.get('/graph/cart')).json).toEqual({ error: 'This needs a login' });
    await browser.post('/login/bob');
    expect((await browser.get('/graph/cart')).json).toEqual({ value: 'bob' });
    expect((await browser.get('/graph/looks')).json).toEqual({ error: expect.stringMatching(/@ReadonlySession/) });
    expect((await browser.get('/graph/none')).json).toEqual({ error: expect.stringMatching(/@NoSession/) });
  });

  it.each(['rpc', 'ws'])('refuses a message of %s, which has no session, and says so', async (kind) => {
    const graph = shop.app.get(GraphController);
    const call = (field: 'cart' | 'looks'): Promise<unknown> =>
      RequestContext.run(new RequestContext(), () => graph.call(field, kind));
    await expect(call('cart')).rejects.toThrow(/There is no session here: import SessionModule/);
    await expect(call('looks')).rejects.toThrow(/There is no session here: import SessionModule/);
  });
});

describe('@RequireSession()', () => {
  it.each([
    [{ principal: 'yes' }, /principal.*'yes'/],
    [{ maxAge: 'soon' }, /maxAge.*soon/],
    [{ maxAge: 10 }, /maxAge.*10/],
    [{ maxAge: '5m', principal: false }, /principal.*false/],
  ])('refuses %j when the class is defined', (options, message) => {
    expect(() => RequireSession(options as object)).toThrow(message);
  });
});
