import 'reflect-metadata';
import type { SessionModuleOptions } from '@lockstep/session';
import { afterEach, describe, expect, it } from 'vitest';
import { type HttpApp, PLATFORMS, type Platform, startHttpApp } from './support/http-app.js';
import { pairOf, type RawAnswer, raw, tokenOf } from './support/raw-http.js';
import { ShopController } from './support/shop.controller.js';
import { type SpyingStore, spyingStore } from './support/spying-store.js';

const HOST = { host: 'www.mall.com' };
const NAME = '__Secure-sid';

const shops: HttpApp[] = [];

async function sharedShop(platform: Platform): Promise<{ shop: HttpApp; spy: SpyingStore }> {
  const spy = spyingStore();
  const session: Partial<SessionModuleOptions> = { cookie: { domain: () => 'mall.com' } };
  const shop = await startHttpApp({
    platform,
    controllers: [ShopController],
    session: { ...session, store: spy.driver },
  });
  shops.push(shop);
  return { shop, spy };
}

async function tokenWith({ url }: HttpApp, color: string): Promise<string> {
  return tokenOf(pairOf(await raw(url, '/set/color', { method: 'POST', headers: HOST, body: { value: color } })));
}

function read({ url }: HttpApp, tokens: readonly string[]): Promise<RawAnswer> {
  const cookie = tokens.map((token) => `${NAME}=${token}`).join('; ');
  return raw(url, '/read/color', { headers: { ...HOST, cookie } });
}

async function endedToken(shop: HttpApp): Promise<string> {
  const token = await tokenWith(shop, 'stale');
  await raw(shop.url, '/logout', { method: 'POST', headers: { ...HOST, cookie: `${NAME}=${token}` } });
  return token;
}

afterEach(async () => {
  for (const shop of shops.splice(0)) await shop.close();
});

describe.each(PLATFORMS)('two cookies of one name on %s', (platform) => {
  it('lead to the live session, whatever their order, and the stale one of the host is expired', async () => {
    const { shop, spy } = await sharedShop(platform);
    const stale = await endedToken(shop);
    const live = await tokenWith(shop, 'red');
    const forged = `${live.slice(0, -1)}${live.endsWith('A') ? 'B' : 'A'}`;
    for (const other of [stale, forged, 'garbage', '']) {
      for (const tokens of [
        [other, live],
        [live, other],
      ]) {
        const answer = await read(shop, tokens);
        expect(answer.json).toMatchObject({ value: 'red' });
        expect(answer.setCookies).toEqual([`${NAME}=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax`]);
      }
    }
    spy.calls.length = 0;
    await read(shop, [forged, live]);
    await read(shop, [stale, live]);
    expect(spy.calls).toEqual(['load', 'load', 'load']);
  });

  it('are three at most: what comes behind them is not looked at', async () => {
    const { shop, spy } = await sharedShop(platform);
    const live = await tokenWith(shop, 'red');
    const stale = [await endedToken(shop), await endedToken(shop), await endedToken(shop), await endedToken(shop)];
    spy.calls.length = 0;
    expect((await read(shop, [...stale.slice(0, 2), live])).json).toMatchObject({ value: 'red' });
    expect(spy.calls).toEqual(['load', 'load', 'load']);
    spy.calls.length = 0;
    expect((await read(shop, [...stale, live])).json).toMatchObject({ exists: false });
    expect(spy.calls).toEqual(['load', 'load', 'load']);
    spy.calls.length = 0;
    expect(
      (
        await read(
          shop,
          Array.from({ length: 500 }, () => 'x'),
        )
      ).json,
    ).toMatchObject({ exists: false });
    expect(spy.calls).toEqual([]);
  });

  it('are both gone after the logout', async () => {
    const { shop } = await sharedShop(platform);
    const live = await tokenWith(shop, 'red');
    const answer = await raw(shop.url, '/logout', {
      method: 'POST',
      headers: { ...HOST, cookie: `${NAME}=old; ${NAME}=${live}` },
    });
    expect(answer.setCookies).toEqual([
      `${NAME}=; Max-Age=0; Domain=mall.com; Path=/; HttpOnly; Secure; SameSite=Lax`,
      `${NAME}=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax`,
    ]);
  });
});

describe.each(PLATFORMS)('an older answer on %s', (platform) => {
  it('leaves the cookie alone that a login has set meanwhile', async () => {
    const { shop } = await sharedShop(platform);
    const old = `${NAME}=${await tokenWith(shop, 'red')}`;
    const gate = ShopController.gate();
    const slow = raw(shop.url, `/slow/size?gate=${gate.name}`, { method: 'POST', headers: { ...HOST, cookie: old } });
    await gate.entered;
    const login = await raw(shop.url, '/login/alice', { method: 'POST', headers: { ...HOST, cookie: old } });
    expect(login.setCookies).toHaveLength(1);
    gate.open();
    const answer = await slow;
    expect(answer.status).toBe(201);
    expect(answer.setCookies).toEqual([]);
    const seen = await raw(shop.url, '/read/color', { headers: { ...HOST, cookie: pairOf(login) } });
    expect(seen.json).toEqual({ value: 'red', principal: 'alice', exists: true });
  });

  it('clears nothing where its id leads nowhere any more; only a logout does', async () => {
    const { shop } = await sharedShop(platform);
    const ended = await endedToken(shop);
    expect((await read(shop, [ended])).setCookies).toEqual([]);
    expect((await read(shop, [ended, ended])).setCookies).toEqual([]);
    const headers = { ...HOST, cookie: `${NAME}=${ended}` };
    const loggedOut = await raw(shop.url, '/logout', { method: 'POST', headers });
    expect(loggedOut.setCookies).toEqual([expect.stringMatching(/^__Secure-sid=; Max-Age=0; Domain=mall\.com/)]);
  });
});
