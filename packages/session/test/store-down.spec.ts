import 'reflect-metadata';
import { Incidents, StoreUnavailableError } from '@lockstep/core';
import { CurrentSession, OnSessionStoreDown, RequireSession, type SessionRef } from '@lockstep/session';
import { type ArgumentsHost, Catch, Controller, type ExceptionFilter, Get, Post, Req, Res } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Answer, Browser, type HttpApp, type HttpAppInit, PLATFORMS, startHttpApp } from './support/http-app.js';
import { down, ShakyStore } from './support/shaky-store.js';
import { passed } from './support/time.js';

interface RawReply {
  hijack?(): void;
  readonly raw?: RawReply;
  writeHead(status: number): void;
  write(text: string): void;
  end(text?: string): void;
}

@Controller()
class ShopController {
  @Get('read')
  read(@CurrentSession() session: SessionRef): object {
    return { color: session.get('color') ?? null, exists: session.exists };
  }

  @Get('own')
  own(@Req() request: { session: Record<string, unknown> }): object {
    return { type: typeof request.session, color: request.session['color'] ?? null };
  }

  @OnSessionStoreDown('anonymous')
  @Get('front')
  front(@CurrentSession() session: SessionRef): object {
    return { color: session.get('color') ?? null, exists: session.exists, principal: session.principal ?? null };
  }

  @OnSessionStoreDown('anonymous')
  @RequireSession()
  @Get('mine')
  mine(): object {
    return { ok: true };
  }

  @OnSessionStoreDown('unavailable')
  @Get('strict')
  strict(): object {
    return { ok: true };
  }

  @OnSessionStoreDown('anonymous')
  @Post('front/set')
  set(@CurrentSession() session: SessionRef): object {
    session.set('color', 'blue');
    return { ok: true };
  }

  @OnSessionStoreDown('anonymous')
  @Post('front/login')
  async login(@CurrentSession() session: SessionRef): Promise<object> {
    await session.login({ id: 'bob' });
    return { ok: true };
  }

  @OnSessionStoreDown('anonymous')
  @Post('front/logout')
  async logout(@CurrentSession() session: SessionRef): Promise<object> {
    await session.logout();
    return { ok: true };
  }

  @Post('begin')
  begin(@CurrentSession() session: SessionRef, @Res({ passthrough: true }) response: HeaderReply): object {
    session.set('color', 'red');
    header(response, 'X-Secret', 'of the handler');
    header(response, 'Set-Cookie', 'other=1');
    return { secret: 'of the handler' };
  }

  @Post('late')
  late(@CurrentSession() session: SessionRef, @Res() response: RawReply): void {
    response.hijack?.();
    const raw = response.raw ?? response;
    raw.writeHead(200);
    raw.write('begun ');
    session.set('color', 'green');
    raw.end('ended');
  }
}

interface HeaderReply {
  header(name: string, value: string): unknown;
}

function header(response: HeaderReply, name: string, value: string): void {
  response.header(name, value);
}

@OnSessionStoreDown('anonymous')
@Controller('class')
class AnonymousController {
  @Get('visitor')
  visitor(): object {
    return { ok: true };
  }

  @OnSessionStoreDown('unavailable')
  @Get('strict')
  strict(): object {
    return { ok: true };
  }
}

describe.each(PLATFORMS)('while the store is down, a request on %s', (platform) => {
  let store: ShakyStore;
  let shop: HttpApp | undefined;
  let browser: Browser;
  let incidents: string[];
  beforeEach(() => {
    store = new ShakyStore();
    incidents = [];
  });
  afterEach(() => shop?.close());

  async function start(session: HttpAppInit['session'] = {}, configure?: HttpAppInit['configure']): Promise<void> {
    shop = await startHttpApp({
      platform,
      controllers: [ShopController, AnonymousController],
      session: { store: store.driver, ...session },
      ...(configure ? { configure } : {}),
    });
    shop.app.get(Incidents).subscribe(({ code }) => incidents.push(code));
    browser = new Browser(shop.url);
    expect((await browser.post('/begin')).status).toBe(201);
    expect(browser.token).toBeDefined();
  }

  function expectUnavailable(answer: Answer): void {
    expect(answer.status).toBe(503);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(answer.json).toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'unavailable', retryable: true });
    expect(answer.setCookies).toEqual([]);
  }

  it('with a valid cookie is answered 503 with Retry-After, its cookie is left alone, and all is well again by itself', async () => {
    await start();
    store.goDown();
    for (const path of ['/read', '/own', '/nowhere', '/strict']) expectUnavailable(await browser.get(path));
    expect(browser.token).toBeDefined();
    store.mend();
    expect((await browser.get('/read')).json).toEqual({ color: 'red', exists: true });
  });

  it('keeps its cookie, whatever a filter that answers the error sets', async () => {
    const refused: unknown[] = [];
    @Catch()
    class FlashFilter implements ExceptionFilter {
      catch(error: unknown, host: ArgumentsHost): void {
        const request = host.switchToHttp().getRequest<{ session: Record<string, unknown> }>();
        try {
          request.session['flash'] = 'sorry';
        } catch (refusal) {
          refused.push(refusal);
        }
        shop?.app
          .get(HttpAdapterHost)
          .httpAdapter.reply(host.switchToHttp().getResponse(), { error: String(error) }, 503);
      }
    }
    await start({}, (app) => app.useGlobalFilters(new FlashFilter()));
    store.failure = (step) => (step === 'load' ? down(step) : undefined);
    const answer = await browser.get('/nowhere');
    expect(answer.status).toBe(503);
    expect(answer.setCookies).toEqual([]);
    expect(refused).toEqual([expect.any(StoreUnavailableError)]);
    store.mend();
    expect((await browser.get('/read')).json).toEqual({ color: 'red', exists: true });
  });

  it('without a cookie, or with a forged one, is served', async () => {
    await start();
    store.goDown();
    const before = store.asked.length;
    const visitor = new Browser(shop?.url ?? '');
    expect((await visitor.get('/read')).json).toEqual({ color: null, exists: false });
    visitor.cookies.set('sid', `${browser.token?.slice(0, -2)}xx`);
    expect((await visitor.get('/read')).json).toEqual({ color: null, exists: false });
    expect(store.asked.length).toBe(before);
  });

  it('is served as that of a visitor where the route says so, and what would write is refused', async () => {
    await start();
    store.goDown();
    const answer = await browser.get('/front');
    expect(answer.json).toEqual({ color: null, exists: false, principal: null });
    expect(answer.setCookies).toEqual([]);
    for (const write of ['set', 'login', 'logout']) expectUnavailable(await browser.post(`/front/${write}`));
    expectUnavailable(await browser.get('/mine'));
    expectUnavailable(await browser.get('/read'));
    expect((await browser.get('/class/visitor')).status).toBe(200);
    expectUnavailable(await browser.get('/class/strict'));
    store.mend();
    expect((await browser.get('/front')).json).toMatchObject({ color: 'red', exists: true });
  });

  it('is served as that of a visitor where the module says so, save where the route does not', async () => {
    await start({ onStoreDown: 'anonymous' });
    store.goDown();
    expect((await browser.get('/read')).json).toEqual({ color: null, exists: false });
    expect((await browser.get('/own')).json).toEqual({ type: 'object', color: null });
    expectUnavailable(await browser.post('/begin'));
    expectUnavailable(await browser.get('/strict'));
    store.mend();
    expect((await browser.get('/read')).json).toEqual({ color: 'red', exists: true });
  });

  it('whose changes cannot be saved is answered 503, with nothing of what the handler answered', async () => {
    await start();
    store.failure = (step) => (step === 'load' ? undefined : down(step));
    const answer = await browser.post('/begin');
    expectUnavailable(answer);
    expect(answer.headers.get('x-secret')).toBeNull();
    expect(answer.text).not.toContain('of the handler');
    expect(incidents).toContain('SESSION_NOT_SAVED');
    const visitor = new Browser(shop?.url ?? '');
    expectUnavailable(await visitor.post('/begin'));
    expect(visitor.token).toBeUndefined();
  });

  it('whose answer had begun when its changes could not be saved is cut off', async () => {
    await start();
    store.failure = (step) => (step === 'load' ? undefined : down(step));
    await expect(browser.post('/late')).rejects.toThrow();
    expect(incidents).toContain('SESSION_NOT_SAVED');
    store.mend();
    expect((await browser.post('/late')).text).toBe('begun ended');
    expect((await browser.get('/read')).json).toMatchObject({ color: 'green' });
  });

  it('is answered 500 where the store fails for a reason of its own', async () => {
    await start({ onStoreDown: 'anonymous' });
    store.failure = (step) => (step === 'save' ? new TypeError('a defect') : undefined);
    const answer = await browser.post('/begin');
    expect(answer.status).toBe(500);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.text).not.toContain('defect');
    expect(answer.text).not.toContain('of the handler');
    store.failure = (step) => (step === 'load' ? new TypeError('a defect') : undefined);
    expect((await browser.get('/read')).status).toBe(500);
  });

  it('is read once more when the first answer was a failure at once, and not when it took its time', async () => {
    await start();
    let failures = 1;
    store.failure = (step) => (failures-- > 0 ? down(step) : undefined);
    const before = store.loads;
    expect((await browser.get('/read')).json).toMatchObject({ color: 'red' });
    expect(store.loads - before).toBe(2);
    store.failure = async (step) => {
      await passed(300);
      return down(step);
    };
    expectUnavailable(await browser.get('/read'));
    expect(store.loads - before).toBe(3);
  });
});
