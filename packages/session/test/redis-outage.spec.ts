import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { RedisModule } from '@lockstep/redis';
import { CurrentSession, OnSessionStoreDown, type SessionRef } from '@lockstep/session';
import { redisSessionStore } from '@lockstep/session/redis';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Controller, Get, Post } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';

const redis = useRedis();

@Controller()
class ShopController {
  static beforeAnswer: () => void = () => undefined;

  @Get('color')
  color(@CurrentSession() session: SessionRef): object {
    return { color: session.get('color') ?? null };
  }

  @OnSessionStoreDown('anonymous')
  @Get('front')
  front(@CurrentSession() session: SessionRef): object {
    return { color: session.get('color') ?? null };
  }

  @Post('begin')
  begin(@CurrentSession() session: SessionRef): object {
    session.set('color', 'red');
    ShopController.beforeAnswer();
    return { secret: 'of the handler' };
  }
}

const OUTAGES: readonly [string, (proxy: FaultProxy) => void][] = [
  [
    'refuses connections',
    (proxy) => {
      proxy.refuse();
      proxy.cut();
    },
  ],
  ['answers nothing', (proxy) => proxy.blackhole()],
];

describe.each(PLATFORMS)('on %s', (platform) => {
  let proxy: FaultProxy;
  let shop: HttpApp;
  beforeAll(async () => {
    proxy = await startFaultProxy({ target: redis.url });
    const namespace = `outage-${randomUUID().slice(0, 8)}`;
    shop = await startHttpApp({
      platform,
      controllers: [ShopController],
      imports: [RedisModule.forRoot({ url: proxy.urlFor(redis.url), namespace, commandTimeout: 400 })],
      session: { store: redisSessionStore() },
    });
  });
  afterAll(async () => {
    await proxy.heal();
    await shop.close();
    await proxy.stop();
  });

  it.each(OUTAGES)(
    'a Redis that %s makes no session end: 503 or a visitor meanwhile, and afterwards as before',
    async (_how, outage) => {
      const browser = new Browser(shop.url);
      await browser.post('/begin');
      const { token } = browser;
      expect(token).toBeDefined();
      outage(proxy);
      const refused = await browser.get('/color');
      expect(refused.status).toBe(503);
      expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
      expect(refused.json).toMatchObject({ code: 'STORE_UNAVAILABLE' });
      expect(refused.setCookies).toEqual([]);
      expect((await browser.get('/front')).json).toEqual({ color: null });
      expect((await new Browser(shop.url).get('/color')).json).toEqual({ color: null });
      await proxy.heal();
      await eventually(async () => expect((await browser.get('/color')).json).toEqual({ color: 'red' }), {
        timeoutMs: 15_000,
      });
      expect(browser.token).toBe(token);
    },
  );

  it('a Redis that goes before the answer leaves nothing of it', async () => {
    const browser = new Browser(shop.url);
    ShopController.beforeAnswer = () => proxy.blackhole();
    const refused = await browser.post('/begin');
    expect(refused.status).toBe(503);
    expect(refused.text).not.toContain('of the handler');
    expect(browser.token).toBeUndefined();
    ShopController.beforeAnswer = () => undefined;
    await proxy.heal();
    await eventually(async () => expect((await browser.post('/begin')).status).toBe(201), { timeoutMs: 15_000 });
  });
});
