import 'reflect-metadata';
import { afterEach, describe, expect, it } from 'vitest';
import { type HttpApp, PLATFORMS, type Platform, startHttpApp } from './support/http-app.js';
import { pairOf, type RawAnswer, raw } from './support/raw-http.js';
import { ShopController } from './support/shop.controller.js';
import { spyingStore } from './support/spying-store.js';

type CsrfOptions = Parameters<HttpApp['app']['enableCsrfProtection']>[0];

const shops: HttpApp[] = [];
const spy = spyingStore();

async function orderShop(platform: Platform, options?: CsrfOptions): Promise<HttpApp> {
  const session = { store: spy.driver, cookie: { domain: () => 'mall.com' } };
  const shop = await startHttpApp({
    platform,
    controllers: [ShopController],
    session,
    configure: (app) => app.enableCsrfProtection(options),
  });
  shops.push(shop);
  return shop;
}

/** What a form of www.mall.com sends to order.mall.com: of the same site, and so SameSite=Lax lets the cookie through. */
function order({ url }: HttpApp, cookie: string, path = '/set/order'): Promise<RawAnswer> {
  return raw(url, path, {
    method: 'POST',
    headers: { host: 'order.mall.com', cookie, origin: 'https://www.mall.com', 'sec-fetch-site': 'same-site' },
    body: { value: 'tea' },
  });
}

async function loggedIn({ url }: HttpApp): Promise<string> {
  return pairOf(await raw(url, '/login/alice', { method: 'POST', headers: { host: 'www.mall.com' } }));
}

afterEach(async () => {
  for (const shop of shops.splice(0)) await shop.close();
});

describe.each(PLATFORMS)('a POST of a sibling subdomain on %s', (platform) => {
  it('is 403 by enableCsrfProtection() until its origin is trusted, and then it has its session', async () => {
    const strict = await orderShop(platform);
    const cookie = await loggedIn(strict);
    const refused = await order(strict, cookie);
    expect(refused.status).toBe(403);
    expect(refused.setCookies).toEqual([]);
    const trusting = await orderShop(platform, { trustedOrigins: ['https://www.mall.com'] });
    expect((await order(trusting, cookie)).status).toBe(201);
    const seen = await raw(trusting.url, '/read/order', { headers: { host: 'order.mall.com', cookie } });
    expect(seen.json).toEqual({ value: 'tea', principal: 'alice', exists: true });
  });

  it('touches no store when it is refused, so that others can neither prolong a session nor load the store', async () => {
    const shop = await orderShop(platform);
    const cookie = await loggedIn(shop);
    spy.calls.length = 0;
    expect((await order(shop, cookie)).status).toBe(403);
    expect((await order(shop, cookie, '/nowhere')).status).toBe(403);
    expect(spy.calls).toEqual([]);
    const same = { host: 'order.mall.com', cookie, 'sec-fetch-site': 'same-origin' };
    const allowed = await raw(shop.url, '/set/order', { method: 'POST', headers: same, body: { value: 'tea' } });
    expect(allowed.status).toBe(201);
    expect(spy.calls).toEqual(['load', 'save']);
  });

  it('has its session where its route is excluded from the protection', async () => {
    for (const exclude of [['/set/:name'], (request: { url: string }) => request.url === '/set/order']) {
      const shop = await orderShop(platform, { exclude });
      const cookie = await loggedIn(shop);
      expect((await order(shop, cookie)).status).toBe(201);
      const seen = await raw(shop.url, '/read/order', { headers: { host: 'order.mall.com', cookie } });
      expect(seen.json).toMatchObject({ value: 'tea', principal: 'alice' });
      expect((await order(shop, cookie, '/login/bob')).status).toBe(403);
    }
  });
});
