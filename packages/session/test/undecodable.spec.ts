import 'reflect-metadata';
import { Incidents } from '@lockstep/core';
import type { SessionModuleOptions, SessionRecord, SessionStore } from '@lockstep/session';
import { MemorySessionStore } from '@lockstep/session';
import { afterEach, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, type Platform, startHttpApp } from './support/http-app.js';
import { ShopController } from './support/shop.controller.js';

const shops: HttpApp[] = [];

/** A shop whose store returns other texts than were written: those of another version, or of nobody. */
async function shopAfter(
  platform: Platform,
  spoil: (record: SessionRecord) => SessionRecord,
  onUndecodable?: SessionModuleOptions['onUndecodable'],
): Promise<{ shop: HttpApp; browser: Browser; incidents: string[] }> {
  class SpoiltStore extends MemorySessionStore implements SessionStore {
    override async load(request: Parameters<SessionStore['load']>[0]): Promise<SessionRecord | undefined> {
      const record = await super.load(request);
      return record && spoil(record);
    }
  }
  const session = { store: { useFactory: () => new SpoiltStore() }, ...(onUndecodable ? { onUndecodable } : {}) };
  const shop = await startHttpApp({ platform, controllers: [ShopController], session });
  shops.push(shop);
  const incidents: string[] = [];
  shop.app.get(Incidents, { strict: false }).subscribe(({ code }) => incidents.push(code));
  const browser = new Browser(shop.url);
  await browser.post('/set/color', { value: 'red' });
  await browser.post('/set/cart', { value: ['tea'] });
  return { shop, browser, incidents };
}

function cartAs(text: string): (record: SessionRecord) => SessionRecord {
  return (record) => {
    const cart = record.attributes.get('cart');
    return cart ? { ...record, attributes: new Map(record.attributes).set('cart', { ...cart, text }) } : record;
  };
}

afterEach(async () => {
  for (const shop of shops.splice(0)) await shop.close();
});

describe.each(PLATFORMS)('text that cannot be decoded on %s', (platform) => {
  it.each(['', '{', '{"$t":"of another version","v":1}', '{"$t":"map","v":7}', 'undefined', '{"$t":"bigint","v":"x"}'])(
    'leaves out its attribute alone, and never fails a request: %s',
    async (text) => {
      const { browser, incidents } = await shopAfter(platform, cartAs(text));
      expect((await browser.get('/read/cart')).json).toEqual({ value: null, principal: null, exists: true });
      expect((await browser.get('/native')).json).toEqual({ color: 'red' });
      expect(new Set(incidents)).toEqual(new Set(['SESSION_UNDECODABLE']));
      expect((await browser.post('/set/size', { value: 3 })).status).toBe(201);
    },
  );

  it('leaves out the whole session by drop-session, whose client may begin another', async () => {
    const { browser, incidents } = await shopAfter(
      platform,
      cartAs('{"$t":"of another version","v":1}'),
      'drop-session',
    );
    const before = browser.token;
    const seen = await browser.get('/read/color');
    expect(seen.json).toEqual({ value: null, principal: null, exists: false });
    expect(seen.setCookies).toEqual([]);
    expect(new Set(incidents)).toEqual(new Set(['SESSION_UNDECODABLE']));
    await browser.post('/set/color', { value: 'blue' });
    expect(browser.token).not.toBe(before);
    expect((await browser.get('/read/color')).json).toMatchObject({ value: 'blue' });
  });

  it('of a readable session is none by drop-session, and its values are those that were set', async () => {
    const { browser, incidents } = await shopAfter(platform, (record) => record, 'drop-session');
    expect((await browser.get('/native')).json).toEqual({ color: 'red', cart: ['tea'] });
    await browser.post('/in-place');
    expect((await browser.get('/read/cart')).json).toMatchObject({ value: ['tea', 'tea'] });
    expect(incidents).toEqual([]);
  });

  it.each(['drop-attribute', 'drop-session'] as const)(
    'makes nobody of a user, and of his session none, with %s',
    async (onUndecodable) => {
      for (const principal of ['{"id":', '{}', 'null', '[]', '{"id":7,"amr":[]}', '{"id":"ann","amr":"pwd"}']) {
        const spoil = (record: SessionRecord): SessionRecord => ({ ...record, principal });
        const { browser, incidents } = await shopAfter(platform, spoil, onUndecodable);
        const seen = await browser.get('/read/color');
        expect(seen.status).toBe(200);
        expect(seen.json, principal).toEqual({ value: null, principal: null, exists: false });
        expect(incidents).toContain('SESSION_UNDECODABLE');
      }
    },
  );

  it('of a user or a device is listed all the same, so that its session can be ended', async () => {
    class SpoiltList extends MemorySessionStore {
      override async list(group: string): ReturnType<MemorySessionStore['list']> {
        const { sessions, expired } = await super.list(group);
        return { sessions: sessions.map((head) => ({ ...head, principal: '{', meta: '{"ip":' })), expired };
      }
    }
    const session = { store: { useFactory: () => new SpoiltList() } };
    const shop = await startHttpApp({ platform, controllers: [ShopController], session });
    shops.push(shop);
    await new Browser(shop.url).post('/login/ann');
    const [info] = await shop.sessions.list({ id: 'ann' });
    expect(info).toMatchObject({ amr: [], meta: {} });
    expect(await shop.sessions.revoke({ id: 'ann' }, info?.handle ?? '')).toBe(true);
  });

  it('is not written where `meta` tells nothing of a device', async () => {
    const session = { meta: () => undefined as never };
    const shop = await startHttpApp({ platform, controllers: [ShopController], session });
    shops.push(shop);
    const browser = new Browser(shop.url);
    expect((await browser.post('/login/ann')).status).toBe(201);
    expect((await shop.sessions.list({ id: 'ann' }))[0]?.meta).toEqual({});
  });
});

describe.each(PLATFORMS)('names of attributes on %s', (platform) => {
  it('that mean something to objects are refused, and pollute nothing', async () => {
    const shop = await startHttpApp({ platform, controllers: [ShopController] });
    shops.push(shop);
    const browser = new Browser(shop.url);
    for (const name of ['__proto__', 'constructor', 'prototype', 'cookie', '%00', '%ED%A0%80', 'x'.repeat(129)]) {
      expect((await browser.post(`/set/${name}`, { value: { isAdmin: true } })).status).toBeGreaterThanOrEqual(400);
      expect((await browser.post(`/count/${name}`)).status).toBeGreaterThanOrEqual(400);
    }
    expect(browser.token).toBeUndefined();
    expect({}).not.toHaveProperty('isAdmin');
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      expect((await browser.get(`/read/${name}`)).json).toMatchObject({ value: null });
    }
    await browser.post('/set/toString', { value: 'text' });
    expect((await browser.get('/native')).json).toEqual({ toString: 'text' });
  });
});
