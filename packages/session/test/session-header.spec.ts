import 'reflect-metadata';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { pairOf, type RawAnswer, raw, tokenOf } from './support/raw-http.js';
import { ShopController } from './support/shop.controller.js';
import { spyingStore } from './support/spying-store.js';

describe.each(PLATFORMS)('the header on %s', (platform) => {
  let shop: HttpApp;
  const spy = spyingStore();
  beforeAll(async () => {
    const session = { header: 'X-Auth-Token', store: spy.driver };
    const cors = { origin: 'https://app.mall.com', credentials: true, exposedHeaders: 'X-Auth-Token' };
    shop = await startHttpApp({
      platform,
      controllers: [ShopController],
      session,
      configure: (app) => app.enableCors(cors),
    });
  });
  afterAll(() => shop.close());

  const set = (headers: Record<string, string>): Promise<RawAnswer> =>
    raw(shop.url, '/set/color', { method: 'POST', headers: { host: 'localhost', ...headers }, body: { value: 'red' } });
  const read = (headers: Record<string, string>): Promise<RawAnswer> =>
    raw(shop.url, '/read/color', { headers: { host: 'localhost', ...headers } });
  const headerOf = ({ headers }: RawAnswer): string => String(headers['x-auth-token']);

  it('brings the id and takes it, without a cookie; empty, it asks for one', async () => {
    const begun = await set({ 'X-Auth-Token': '' });
    expect(headerOf(begun)).toMatch(/^s1\./);
    expect(begun.setCookies).toEqual([]);
    expect(begun.headers['cache-control']).toBe('no-store');
    const seen = await read({ 'x-auth-token': headerOf(begun) });
    expect(seen.json).toMatchObject({ value: 'red' });
    expect(seen.headers).not.toHaveProperty('x-auth-token');
    const headers = { host: 'localhost', 'x-auth-token': headerOf(begun) };
    const login = await raw(shop.url, '/login/alice', { method: 'POST', headers });
    expect(headerOf(login)).toMatch(/^s1\./);
    expect(headerOf(login)).not.toBe(headerOf(begun));
    expect(login.setCookies).toEqual([]);
    const loggedOut = await raw(shop.url, '/logout', {
      method: 'POST',
      headers: { ...headers, 'x-auth-token': headerOf(login) },
    });
    expect(loggedOut.headers['x-auth-token']).toBe('');
    expect(loggedOut.setCookies).toEqual([]);
  });

  it('and the cookie are never mixed: the one that a client uses is the one that is looked at and answered', async () => {
    const cookie = pairOf(await set({}));
    const header = headerOf(await set({ 'x-auth-token': '' }));
    spy.calls.length = 0;
    for (const value of ['', 'garbage', `${header}, ${header}`]) {
      expect((await read({ cookie, 'x-auth-token': value })).json).toMatchObject({ exists: false });
    }
    expect(spy.calls).toEqual([]);
    const both = await set({ cookie, 'x-auth-token': 'garbage' });
    expect(both.setCookies).toEqual([]);
    expect(headerOf(both)).not.toBe(tokenOf(cookie));
    const byCookie = await set({});
    expect(byCookie.headers).not.toHaveProperty('x-auth-token');
    expect(byCookie.setCookies).toHaveLength(1);
    // The same id by the other way opens the same session: how it travels is the client's choice.
    expect((await read({ 'x-auth-token': tokenOf(cookie) })).json).toMatchObject({ exists: true });
  });

  it('is seen by pages of another origin where CORS exposes it', async () => {
    const begun = await set({ 'x-auth-token': '', origin: 'https://app.mall.com' });
    expect(begun.headers['access-control-expose-headers']).toBe('X-Auth-Token');
    expect(headerOf(begun)).toMatch(/^s1\./);
  });
});

describe.each(PLATFORMS)('without cookies on %s', (platform) => {
  it('an id is told by the header alone, and one in a cookie is not looked at', async () => {
    const session = { header: 'X-Auth-Token', cookie: false as const };
    const shop = await startHttpApp({ platform, controllers: [ShopController], session });
    const begun = await raw(shop.url, '/raw', { method: 'POST' });
    const token = String(begun.headers['x-auth-token']);
    expect(token).toMatch(/^s1\./);
    expect(begun.setCookies).toEqual(['own=1']);
    expect(begun.headers['cache-control']).toBe('no-store');
    const byCookie = await raw(shop.url, '/read/form', { headers: { cookie: `sid=${token}; __Host-sid=${token}` } });
    expect(byCookie.json).toMatchObject({ exists: false });
    expect((await raw(shop.url, '/read/form', { headers: { 'X-AUTH-TOKEN': token } })).json).toMatchObject({
      value: 'raw',
    });
    await shop.close();
  });
});
