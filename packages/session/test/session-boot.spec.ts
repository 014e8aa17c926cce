import 'reflect-metadata';
import {
  CurrentSession,
  memorySessionStore,
  SessionModule,
  type SessionModuleExtras,
  type SessionModuleOptions,
  type SessionRef,
  SessionService,
} from '@lockstep/session';
import { Controller, Get, Logger, Module, Post } from '@nestjs/common';
import { AbstractHttpAdapter, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, SECRET, startHttpApp } from './support/http-app.js';

const KEYS = { current: 'a', keys: { a: SECRET } };

@Controller()
class ShopController {
  @Post('begin')
  begin(@CurrentSession() session: SessionRef): object {
    session.set('color', 'red');
    return { ok: true };
  }

  @Get('color')
  color(@CurrentSession() session: SessionRef): object {
    return { color: session.get('color') ?? null };
  }

  @Get('static/file')
  file(@CurrentSession() session: SessionRef): object {
    return { color: session.get('color') ?? null };
  }
}

function start(options: Partial<SessionModuleOptions & SessionModuleExtras>): Promise<HttpApp> {
  return startHttpApp({ platform: 'express', controllers: [ShopController], session: options });
}

describe('an application does not start', () => {
  it.each<[string, object]>([
    ['keys', { keys: undefined }],
    ['keys.current', { keys: { current: 'b', keys: { a: SECRET } } }],
    ['idel', { idel: '3m' }],
    ['cookie.maxAge', { cookie: { maxAge: 1_000 } }],
    ['renewEvery', { renewEvery: '2d' }],
    ['maxPerUser', { maxPerUser: '3' }],
    ['upgrade.allowedOrigins', { upgrade: { allowedOrigins: 'https://a.com' } }],
    ['keys', { keys: 'secret' }],
    ['keys.keys.a', { keys: { current: 'a', keys: { a: 'too short' } } }],
    ['current', { keys: { current: 'b', keys: { a: SECRET } } }],
    ['cookie.name', { cookie: { name: 'a b' } }],
    ['cookie.name', { cookie: { name: '' } }],
    ['cookie.name', { cookie: { name: '__Host-sid' } }],
    ['cookie.domain', { cookie: { domain: 'mall.com' } }],
    ['cookie.sameSite', { cookie: { sameSite: 'Lax' } }],
    ['cookie.secure', { cookie: { secure: false, sameSite: 'none' } }],
    ['cookie.secure', { cookie: { secure: false, partitioned: true } }],
    ['cookie and header', { cookie: false }],
    ['header', { header: 'X Auth' }],
    ['header', { header: 'Cookie' }],
    ['header', { header: 'Authorization' }],
    ['idle', { idle: 'soon' }],
    ['idle', { idle: 0 }],
    ['idle', { idle: '31d' }],
    ['absolute', { absolute: '1m' }],
    ['absolute', { absolute: '401d' }],
    ['touchAfter', { touchAfter: '16m' }],
    ['touchAfter', { touchAfter: -1 }],
    ['renewEvery', { renewEvery: '1s' }],
    ['renewGrace', { renewGrace: '1h' }],
    ['maxPerUser', { maxPerUser: 0 }],
    ['maxPerUser', { maxPerUser: 1.5 }],
    ['maxPerUser.policy', { maxPerUser: { sessions: 3, policy: 'oldest' } }],
    ['maxAttributeBytes', { maxAttributeBytes: 0 }],
    ['maxBytes', { maxBytes: '1k' }],
    ['onUndecodable', { onUndecodable: 'throw' }],
    ['onStoreDown', { onStoreDown: 'guest' }],
    ['exclude', { exclude: '/static' }],
    ['meta', { meta: {} }],
    ['store', { store: null }],
    ['store', { store: {} }],
  ])('where the option %s is wrong: %j', async (option, options) => {
    const message = new RegExp(`\\b${option.replaceAll('.', '\\.')}\\b`);
    await expect(start(options as Partial<SessionModuleOptions>)).rejects.toThrow(message);
  });

  it('where a factory returns the store, which would be in memory then', async () => {
    const useFactory = () => ({ keys: KEYS, store: memorySessionStore() });
    const root = { module: Root, imports: [SessionModule.forRootAsync({ useFactory })] };
    const starting = NestFactory.create(root, new ExpressAdapter(), { logger: false, abortOnError: false });
    await expect(starting).rejects.toThrow("Option 'store' of SessionModule: it belongs beside useFactory");
  });

  it('where keys are one string, and does not print it', async () => {
    const error: unknown = await start({ keys: SECRET as never }).catch((thrown: unknown) => thrown);
    expect(String(error)).toContain('keys');
    expect(String(error)).not.toContain(SECRET);
  });

  it.each(PLATFORMS)('on %s where the module is imported twice, and says so', async (platform) => {
    const again = SessionModule.forRoot({ keys: KEYS, idle: '10m' });
    const starting = startHttpApp({ platform, controllers: [], imports: [again] });
    await expect(starting).rejects.toThrow('SessionModule is imported twice');
  });

  it.each(PLATFORMS)('on %s where another library has req.session, and says so', async (platform) => {
    const adapter = platform === 'fastify' ? new FastifyAdapter() : undefined;
    adapter?.getInstance().decorateRequest('session', null);
    const root = { module: Root, imports: [SessionModule.forRoot({ keys: KEYS })] };
    const starting = adapter ? NestFactory.create(root, adapter, { logger: false, abortOnError: false }) : startTaken();
    await expect(starting).rejects.toThrow('req.session is taken by another library');
  });
});

@Module({})
class Root {}

/** What is done to the requests of Express before the application is made. */
async function startTaken(): Promise<unknown> {
  const adapter = new ExpressAdapter();
  adapter.getInstance().request.session = {};
  const root = { module: Root, imports: [SessionModule.forRoot({ keys: KEYS })] };
  return NestFactory.create(root, adapter, { logger: false, abortOnError: false });
}

describe.each(PLATFORMS)('the session module on %s', (platform) => {
  it('takes its options from a factory, and its store from a provider of the application', async () => {
    const options = SessionModule.forRootAsync({
      useFactory: async () => ({ keys: KEYS, cookie: { name: 'shop' } }),
      store: memorySessionStore(),
    });
    const builder = Test.createTestingModule({ imports: [options], controllers: [ShopController] });
    const module = await builder.compile();
    const adapter = platform === 'fastify' ? [new FastifyAdapter()] : [];
    const app = module.createNestApplication(...(adapter as []), { logger: false });
    await app.init();
    await (app as unknown as NestFastifyApplication).getHttpAdapter().getInstance().ready?.();
    const server = app.getHttpServer() as { listen(port: number, host: string, then: () => void): void };
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = (app.getHttpServer() as { address(): { port: number } }).address();
    const browser = new Browser(`http://127.0.0.1:${port}`);
    await browser.post('/begin');
    expect([...browser.cookies.keys()]).toEqual(['shop']);
    expect((await browser.get('/color')).json).toEqual({ color: 'red' });
    await app.close();
  });

  it('reads no session where `exclude` says so, and says why it is refused', async () => {
    const shop = await startHttpApp({
      platform,
      controllers: [ShopController],
      session: { exclude: ({ url = '' }) => url.startsWith('/static/') },
    });
    const browser = new Browser(shop.url);
    await browser.post('/begin');
    expect((await browser.get('/static/file')).json).toMatchObject({ status: 500, code: 'SESSION_MISUSE' });
    expect((await browser.get('/static/nowhere')).status).toBe(404);
    expect((await browser.get('/color')).json).toEqual({ color: 'red' });
    await shop.close();
  });

  it('answers 500 where `exclude` throws, and goes on', async () => {
    const shop = await startHttpApp({
      platform,
      controllers: [ShopController],
      session: {
        exclude: ({ url }) => {
          if (url === '/color') throw new TypeError('a defect');
          return false;
        },
      },
    });
    const browser = new Browser(shop.url);
    expect((await browser.get('/color')).status).toBe(500);
    expect((await browser.post('/begin')).status).toBe(201);
    await shop.close();
  });

  it('reads sessions in a middleware where the adapter has no hook for it', async () => {
    const adapter = platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
    Object.assign(adapter, { setOnRequestHook: AbstractHttpAdapter.prototype.setOnRequestHook });
    const shop = await startHttpApp({ platform, adapter, controllers: [ShopController] });
    const browser = new Browser(shop.url);
    await browser.post('/begin');
    expect((await browser.get('/color')).json).toEqual({ color: 'red' });
    await shop.close();
  });

  it('keeps two applications of one process apart', async () => {
    const first = await startHttpApp({ platform, controllers: [ShopController] });
    const second = await startHttpApp({ platform, controllers: [ShopController] });
    const browser = new Browser(first.url);
    await browser.post('/begin');
    const elsewhere = new Browser(second.url);
    elsewhere.cookies.set('sid', browser.token ?? '');
    expect((await elsewhere.get('/color')).json).toEqual({ color: null });
    expect((await browser.get('/color')).json).toEqual({ color: 'red' });
    await first.close();
    await second.close();
  });

  it('is told to be missing where a handler asks for the session without it', async () => {
    const adapter = platform === 'fastify' ? [new FastifyAdapter()] : [];
    const root = { module: Root, controllers: [ShopController] };
    const app = await NestFactory.create(root, ...(adapter as []), { logger: false });
    const said: unknown[] = [];
    Logger.overrideLogger({ error: (...parts: unknown[]) => said.push(...parts), log: () => {}, warn: () => {} });
    await app.listen(0, '127.0.0.1');
    expect((await fetch(`${await app.getUrl()}/color`)).status).toBe(500);
    expect(said.map(String).join('\n')).toContain('import SessionModule.forRoot()');
    Logger.overrideLogger(false);
    await app.close();
  });
});

describe('the session module', () => {
  it('starts where there is no HTTP, and has no session there', async () => {
    const root = { module: Root, imports: [SessionModule.forRoot({ keys: KEYS })] };
    const app = await NestFactory.createApplicationContext(root, { logger: false });
    const sessions = app.get(SessionService);
    expect(sessions.find()).toBeUndefined();
    expect(() => sessions.current).toThrow(/no request here/);
    expect(await sessions.list({ id: 'bob' })).toEqual([]);
    await app.close();
  });

  it('serves requests that are injected into Fastify without a socket', async () => {
    const shop = await startHttpApp({ platform: 'fastify', controllers: [ShopController] });
    const app = shop.app as NestFastifyApplication;
    const begun = await app.inject({ method: 'POST', url: '/begin' });
    expect(begun.statusCode).toBe(201);
    const [cookie] = begun.cookies;
    const seen = await app.inject({ url: '/color', cookies: { [cookie?.name ?? '']: cookie?.value ?? '' } });
    expect(seen.json()).toEqual({ color: 'red' });
    await shop.close();
  });
});
