import type { SessionModuleExtras } from '@lockstep/session';
import type { DynamicModule } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { anyUser, Browser, type HttpApp, PLATFORMS, startHttpApp } from './http-app.js';
import { held, ShopController } from './shop.controller.js';

/** Where sessions are kept, as one process after another reaches it. */
export interface Backend {
  readonly modules?: readonly DynamicModule[];
  readonly store?: SessionModuleExtras['store'];
}

export interface ConformanceInit {
  readonly name: string;
  /** Called once for each of the two nodes of each platform. */
  backend(): Promise<Backend> | Backend;
  /** Strikes before the facts. */
  trouble?(): Promise<void> | void;
}

/** What users see of sessions, at two nodes of one application, whatever keeps them. */
export function describeHttpSessions(init: ConformanceInit): void {
  describe.each(PLATFORMS)(`a session on %s, kept in ${init.name}`, (platform) => {
    let shop: HttpApp;
    let other: HttpApp;
    beforeAll(async () => {
      [shop, other] = [await start(), await start()];
      await init.trouble?.();
    }, 60_000);
    afterAll(() => Promise.all([shop?.close(), other?.close()]));

    async function start(): Promise<HttpApp> {
      const { modules = [], store } = await init.backend();
      return startHttpApp({
        platform,
        controllers: [ShopController],
        imports: modules,
        session: { store, touchAfter: 0 },
      });
    }

    const visitor = (): Browser => new Browser(shop.url);

    it('is not begun by a visitor who only looks', async () => {
      const browser = visitor();
      const answer = await browser.get('/read/color');
      expect(answer.json).toEqual({ value: null, principal: null, exists: false });
      expect(answer.setCookies).toEqual([]);
      expect((await browser.get('/native')).setCookies).toEqual([]);
    });

    it('begins with the first attribute, and its cookie is told once', async () => {
      const browser = visitor();
      const first = await browser.post('/set/color', { value: 'red' });
      expect(first.setCookies).toEqual([expect.stringMatching(/^sid=s1\.[^;]+; Path=\/; HttpOnly; SameSite=Lax$/)]);
      expect(first.headers.get('cache-control')).toBe('no-store');
      expect((await browser.post('/set/size', { value: 3 })).setCookies).toEqual([]);
      expect((await browser.get('/read/color')).json).toMatchObject({ value: 'red', exists: true });
      expect((await browser.get('/native')).json).toEqual({ color: 'red', size: 3 });
      expect((await browser.get('/attr')).json).toEqual({ color: 'red' });
    });

    it.each(['throws', 'res', 'raw', 'stream', 'redirect'])(
      'is saved before an answer by %s has ended',
      async (form) => {
        const browser = visitor();
        const answer = await browser.post(`/${form}`);
        expect(browser.token).toBeDefined();
        expect((await browser.get('/read/form')).json).toMatchObject({ value: form });
        if (form === 'raw') {
          expect(answer.json).toEqual({ by: 'raw' });
          expect(answer.headers.get('x-own')).toBe('yes');
          expect(browser.cookies.get('own')).toBe('1');
        }
        if (form === 'stream') expect(answer.text).toBe('a'.repeat(70_000) + 'b'.repeat(70_000) + 'c');
      },
    );

    it('is that of @Session() too, which notices what is changed in place', async () => {
      const browser = visitor();
      await browser.post('/native', { color: 'blue' });
      await browser.post('/in-place');
      expect((await browser.post('/in-place')).json).toEqual(['tea', 'tea']);
      expect((await browser.get('/native')).json).toEqual({ color: 'blue', cart: ['tea', 'tea'] });
      expect((await browser.get('/late')).json).toEqual({ has: true });
    });

    it('loses nothing of two requests side by side that set different attributes', async () => {
      const browser = visitor();
      await browser.post('/set/a', { value: 0 });
      const gate = held();
      const slow = browser.clone().post(`/slow/b?gate=${gate.name}`);
      await gate.entered;
      await browser.post('/set/a', { value: 1 });
      gate.open();
      await slow;
      expect((await browser.get('/native')).json).toEqual({ a: 1, b: 'slow' });
    });

    it('does not come back when a slow request ends after the logout', async () => {
      const browser = visitor();
      await browser.post('/login/bob');
      const thief = browser.clone();
      const gate = held();
      const slow = browser.clone().post(`/slow/b?gate=${gate.name}`);
      await gate.entered;
      await browser.post('/logout');
      expect(browser.token).toBeUndefined();
      gate.open();
      expect((await slow).setCookies).toEqual([]);
      expect((await thief.get('/read/b')).json).toEqual({ value: null, principal: null, exists: false });
    });

    it('has another id after the login, and the one before is worth nothing', async () => {
      const browser = visitor();
      await browser.post('/set/cart', { value: ['tea'] });
      const fixed = browser.clone();
      await browser.post('/login/alice');
      expect(browser.token).not.toBe(fixed.token);
      expect((await browser.get('/read/cart')).json).toEqual({ value: ['tea'], principal: 'alice', exists: true });
      expect((await fixed.get('/read/cart')).json).toEqual({ value: null, principal: null, exists: false });
    });

    it('counts every update of requests side by side', async () => {
      const browser = visitor();
      await browser.post('/set/count', { value: 0 });
      await Promise.all(Array.from({ length: 8 }, () => browser.clone().post('/count')));
      expect((await browser.get('/read/count')).json).toMatchObject({ value: 8 });
    });

    it('follows its user to another node, and back', async () => {
      const browser = visitor();
      await browser.post('/set/cart', { value: ['tea'] });
      await browser.post('/login/carol');
      const there = browser.at(other.url);
      expect((await there.get('/read/cart')).json).toEqual({ value: ['tea'], principal: 'carol', exists: true });
      await there.post('/set/seat', { value: 7 });
      expect((await browser.get('/native')).json).toEqual({ cart: ['tea'], seat: 7 });
      await there.post('/logout');
      expect((await browser.get('/read/cart')).json).toMatchObject({ principal: null, exists: false });
    });

    it('counts every update of two nodes', async () => {
      const browser = visitor();
      await browser.post('/set/count', { value: 0 });
      const clicks = Array.from({ length: 8 }, (_, index) => (index % 2 ? browser.clone() : browser.at(other.url)));
      await Promise.all(clicks.map((click) => click.post('/count')));
      expect((await browser.get('/read/count')).json).toMatchObject({ value: 8 });
    });

    it('is listed to its user, ended by him from another node, and then a visitor', async () => {
      const user = anyUser();
      const [phone, laptop] = [visitor(), visitor()];
      for (const device of [phone, laptop]) await device.post(`/login/${user.id}`);
      const [newest, oldest] = await other.sessions.list(user);
      expect([newest, oldest].map((info) => info?.amr)).toEqual([['pwd'], ['pwd']]);
      expect(oldest?.meta.userAgent).toBeDefined();
      expect(await other.sessions.revoke({ id: 'somebody else' }, oldest?.handle ?? '')).toBe(false);
      expect(await other.sessions.revoke(user, oldest?.handle ?? '')).toBe(true);
      expect((await phone.get('/read/x')).json).toMatchObject({ principal: null });
      expect((await laptop.get('/read/x')).json).toMatchObject({ principal: user.id });
      expect(await other.sessions.revokeAll(user)).toBe(1);
      const answer = await laptop.get('/read/x');
      expect(answer.json).toMatchObject({ principal: null });
      expect(answer.setCookies).toEqual([]);
      expect(await shop.sessions.list(user)).toEqual([]);
    });

    it('keeps what was saved when its id is changed', async () => {
      const browser = visitor();
      await browser.post('/set/a', { value: 1 });
      const old = browser.clone();
      await browser.post('/rotate');
      expect(browser.token).not.toBe(old.token);
      expect((await browser.get('/native')).json).toEqual({ a: 1 });
      expect((await old.get('/native')).json).toEqual({});
    });
  });
}
