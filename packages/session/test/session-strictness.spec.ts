import 'reflect-metadata';
import { Keyring } from '@lockstep/core';
import type { SessionModuleOptions } from '@lockstep/session';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type HttpApp, PLATFORMS, SECRET, startHttpApp } from './support/http-app.js';
import { pairOf, type RawAnswer, raw, tokenOf } from './support/raw-http.js';
import { ShopController } from './support/shop.controller.js';
import { type SpyingStore, spyingStore } from './support/spying-store.js';

describe.each(PLATFORMS)('an id on %s', (platform) => {
  let shop: HttpApp;
  let spy: SpyingStore;
  beforeAll(async () => {
    spy = spyingStore();
    const session = { store: spy.driver, header: 'X-Auth-Token' };
    shop = await startHttpApp({ platform, controllers: [ShopController], session });
  });
  afterAll(() => shop.close());
  beforeEach(() => {
    spy.calls.length = 0;
  });

  const set = (cookie?: string): Promise<RawAnswer> =>
    raw(shop.url, '/set/color', {
      method: 'POST',
      headers: { host: 'localhost', ...(cookie === undefined ? {} : { cookie }) },
      body: { value: 'red' },
    });
  const read = (cookie: string): Promise<RawAnswer> =>
    raw(shop.url, '/read/color', { headers: { host: 'localhost', cookie } });

  it('is never adopted when a client brings its own', async () => {
    const foreign = 's1.'.concat('A'.repeat(43), '.AAAAAAAA.a.', 'A'.repeat(43));
    for (const value of ['1', 'abc', foreign, foreign.replace('.a.', '.b.')]) {
      const answer = await set(`sid=${value}`);
      expect(answer.setCookies).toEqual([expect.stringMatching(/^sid=s1\./)]);
      expect(tokenOf(pairOf(answer))).not.toBe(value);
      expect((await read(`sid=${value}`)).json).toMatchObject({ exists: false });
    }
    expect(new Set(spy.calls)).toEqual(new Set(['create']));
  });

  it('is never adopted when its session has ended, though it is signed', async () => {
    const pair = pairOf(await set());
    await raw(shop.url, '/logout', { method: 'POST', headers: { host: 'localhost', cookie: pair } });
    const answer = await set(pair);
    expect(tokenOf(pairOf(answer))).toMatch(/^s1\./);
    expect(pairOf(answer)).not.toBe(pair);
    expect((await read(pair)).json).toMatchObject({ exists: false });
  });

  it('is verified once for a request, and not at all for one without', async () => {
    const pair = pairOf(await set());
    const verify = vi.spyOn(Keyring.prototype, 'verify');
    try {
      expect((await read(pair)).json).toMatchObject({ value: 'red' });
      expect(verify).toHaveBeenCalledTimes(1);
      await read('other=1');
      expect(verify).toHaveBeenCalledTimes(1);
    } finally {
      verify.mockRestore();
    }
  });

  it('that somebody planted before the login is worth nothing after it', async () => {
    const planted = pairOf(await set());
    const login = await raw(shop.url, '/login/victim', {
      method: 'POST',
      headers: { host: 'localhost', cookie: planted },
    });
    expect(login.setCookies).toHaveLength(1);
    expect(pairOf(login)).not.toBe(planted);
    expect((await read(planted)).json).toEqual({ value: null, principal: null, exists: false });
    expect((await read(pairOf(login))).json).toMatchObject({ principal: 'victim' });
  });

  it('in which anything is changed is a visitor without a look at the store', async () => {
    const token = tokenOf(pairOf(await set()));
    spy.calls.length = 0;
    // One bit of each character; the others are tried without HTTP in session-token.spec.ts.
    const flipped = Array.from(token).map((character, at) => {
      const bit = [1, 2, 4, 8, 16][at % 5] ?? 1;
      return token.slice(0, at) + String.fromCharCode(character.charCodeAt(0) ^ bit) + token.slice(at + 1);
    });
    const odd = [token.toUpperCase(), `${token}=`, `${token}%00`, `s:${token}`, token.replaceAll('.', '%2E')];
    const sendable = [...flipped, ...odd].filter((value) => /^[!-~]+$/.test(value) && !/[;,"]/.test(value));
    expect(sendable.length).toBeGreaterThan(60);
    const answers = await Promise.all(sendable.map((value) => read(`sid=${value}`)));
    expect(answers.filter(({ json }) => json.exists)).toEqual([]);
    expect(spy.calls).toEqual([]);
    expect((await read(`sid=${token}`)).json).toMatchObject({ exists: true });
  });

  it('is found among other cookies, quoted and with blanks around it, and never in the name or value of another', async () => {
    const token = tokenOf(pairOf(await set()));
    for (const cookie of [
      `a=1; sid=${token}; b=2`,
      `sid="${token}"`,
      `a=%;sid=${token};%=%`,
      ` \t sid=${token} \t ;a`,
      `sid; sid=${token}`,
      `;;; sid=${token};;;`,
    ]) {
      expect((await read(cookie)).json).toMatchObject({ exists: true });
    }
    spy.calls.length = 0;
    for (const cookie of [
      `xsid=${token}`,
      `sidx=${token}`,
      `sid2=${token}`,
      `SID=${token}`,
      `a=sid=${token}`,
      `a="; xsid=${token}"`,
      `my sid=${token}`,
      `$sid=${token}`,
      `sid==${token}`,
      `sid="${token}`,
      `sid=x${token}`,
    ]) {
      expect((await read(cookie)).json).toMatchObject({ exists: false });
    }
    expect(spy.calls).toEqual([]);
  });

  it('costs nothing in a giant header: what is longer than Node reads is 431, and what is not is looked through', async () => {
    const token = tokenOf(pairOf(await set()));
    spy.calls.length = 0;
    expect((await read(`a=${'x'.repeat(20_000)}; sid=${token}`)).status).toBe(431);
    expect((await read(`sid=${'x'.repeat(15_000)}`)).json).toMatchObject({ exists: false });
    expect((await read(`${'sid=x; '.repeat(500)}sid=${token}`)).json).toMatchObject({ exists: false });
    expect((await read(`${'sid=; '.repeat(500)}`)).json).toMatchObject({ exists: false });
    expect(spy.calls).toEqual([]);
    expect((await read(`${'xsid=1; '.repeat(1_500)}sid=${token}`)).json).toMatchObject({ exists: true });
  });
});

describe('a key', () => {
  const shops: HttpApp[] = [];
  const spy = spyingStore();
  afterEach(async () => {
    for (const shop of shops.splice(0)) await shop.close();
  });

  async function shopWith(keys: SessionModuleOptions['keys']): Promise<HttpApp> {
    const shop = await startHttpApp({
      platform: 'express',
      controllers: [ShopController],
      session: { keys, store: spy.driver },
    });
    shops.push(shop);
    return shop;
  }
  const headers = (cookie: string): Record<string, string> => ({ host: 'localhost', cookie });
  const begin = async ({ url }: HttpApp): Promise<string> =>
    pairOf(await raw(url, '/set/color', { method: 'POST', headers: { host: 'localhost' }, body: { value: 'red' } }));
  const isKnown = async ({ url }: HttpApp, cookie: string): Promise<boolean> =>
    (await raw(url, '/read/color', { headers: headers(cookie) })).json.exists;

  const OLD = 'the old secret of more than 32 bytes';
  const NEW = 'the new secret of more than 32 bytes';

  it('that is not current any more still opens its sessions, and does not once it is removed', async () => {
    const before = await begin(await shopWith({ current: 'old', keys: { old: OLD } }));
    const during = await shopWith({ current: 'new', keys: { old: OLD, new: NEW } });
    expect(await isKnown(during, before)).toBe(true);
    const made = await begin(during);
    expect(made).toMatch(/\.new\.[\w-]{43}$/);
    const login = await raw(during.url, '/login/alice', { method: 'POST', headers: headers(before) });
    expect(pairOf(login)).toMatch(/\.new\.[\w-]{43}$/);
    const after = await shopWith({ current: 'new', keys: { new: NEW } });
    const old = await begin(await shopWith({ current: 'old', keys: { old: OLD } }));
    spy.calls.length = 0;
    expect(await isKnown(after, old)).toBe(false);
    expect(spy.calls).toEqual([]);
    expect(await isKnown(after, made)).toBe(true);
    expect(await isKnown(after, pairOf(login))).toBe(true);
  });

  it('verifies only what names it: another id, or another key by its id, opens nothing', async () => {
    const shop = await shopWith({ current: 'a', keys: { a: OLD, b: NEW } });
    const pair = await begin(shop);
    const signedByOther = await begin(await shopWith({ current: 'b', keys: { b: SECRET } }));
    spy.calls.length = 0;
    for (const id of ['b', 'c', 'A', '__proto__', 'constructor', 'toString', '-', '']) {
      expect(await isKnown(shop, pair.replace('.a.', `.${id}.`))).toBe(false);
    }
    expect(await isKnown(shop, signedByOther)).toBe(false);
    expect(await isKnown(shop, signedByOther.replace('.b.', '.a.'))).toBe(false);
    expect(spy.calls).toEqual([]);
    expect(await isKnown(shop, pair)).toBe(true);
  });
});
