import 'reflect-metadata';
import { PassportModule } from '@nestjs/passport';
import passport from 'passport';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { LocalStrategy, PassportController, UserSerializer } from './support/passport.controller.js';
import { type SpyingStore, spyingStore } from './support/spying-store.js';

describe.each(PLATFORMS)('Passport on %s', (platform) => {
  let shop: HttpApp;
  let keeping: HttpApp;
  let spy: SpyingStore;
  const start = (keepSessionInfo: boolean): Promise<HttpApp> =>
    startHttpApp({
      platform,
      controllers: [PassportController],
      imports: [PassportModule.register({ session: true, keepSessionInfo })],
      providers: [LocalStrategy, UserSerializer],
      session: { store: spy.driver },
      configure: (app) => app.use(passport.session()),
    });
  beforeAll(async () => {
    spy = spyingStore();
    shop = await start(false);
    keeping = await start(true);
  });
  afterAll(async () => {
    await shop.close();
    await keeping.close();
  });
  beforeEach(() => {
    spy.calls.length = 0;
  });

  const alice = { username: 'alice', password: 'right' };
  const ALICE = { id: 'alice', name: 'alice of the mall' };

  it('logs in by req.logIn under a new id without the old data, and the old id is worth nothing', async () => {
    const browser = new Browser(shop.url);
    await browser.post('/set');
    const fixed = browser.clone();
    const login = await browser.post('/login', alice);
    expect(login.json).toEqual({ user: ALICE, keys: ['passport'] });
    expect(login.setCookies).toHaveLength(1);
    expect(browser.token).not.toBe(fixed.token);
    expect((await browser.get('/me')).json).toEqual({ user: ALICE, session: { passport: { user: 'alice' } } });
    expect((await fixed.get('/me')).json).toEqual({ user: null, session: {} });
  });

  it('carries the data of the old session over by keepSessionInfo', async () => {
    const browser = new Browser(keeping.url);
    await browser.post('/set');
    const fixed = browser.token;
    expect((await browser.post('/login', alice)).json).toEqual({ user: ALICE, keys: ['cart', 'passport'] });
    expect(browser.token).not.toBe(fixed);
    const session = { cart: ['tea'], passport: { user: 'alice' } };
    expect((await browser.get('/me')).json).toEqual({ user: ALICE, session });
  });

  it('logs a visitor in who had no session, in one step at the store', async () => {
    const browser = new Browser(shop.url);
    await browser.post('/login', alice);
    expect(spy.calls).toEqual(['create']);
    expect((await browser.get('/me')).json).toMatchObject({ user: ALICE });
  });

  it('begins no session for a login that fails', async () => {
    const browser = new Browser(shop.url);
    expect((await browser.post('/login', { ...alice, password: 'wrong' })).status).toBe(401);
    expect(browser.token).toBeUndefined();
    expect(spy.calls).toEqual([]);
  });

  it('finds the user of the session by passport.session() as a middleware', async () => {
    const browser = new Browser(shop.url);
    await browser.post('/login', alice);
    expect((await browser.get('/found')).json).toEqual({ user: ALICE });
    expect((await new Browser(shop.url).get('/found')).json).toEqual({ user: null });
  });

  it('logs out by req.logOut: the session ends, its cookie is taken, and nothing of it comes back', async () => {
    const browser = new Browser(shop.url);
    await browser.post('/login', alice);
    const thief = browser.clone();
    const logout = await browser.post('/logout');
    expect(logout.json).toEqual({ keys: [] });
    expect(logout.setCookies).toEqual([expect.stringMatching(/^sid=; Max-Age=0/)]);
    expect((await thief.get('/me')).json).toEqual({ user: null, session: {} });
  });

  it('makes its user listable, and one who can be logged out everywhere, when the guard calls session.login()', async () => {
    const user = { id: `carol-${platform}` };
    const browser = new Browser(shop.url);
    const login = await browser.post('/login-listed', { username: user.id, password: 'right' });
    expect(login.json).toEqual({ principal: user });
    expect(await shop.sessions.list(user)).toMatchObject([{ amr: ['pwd'] }]);
    expect((await browser.get('/me')).json).toMatchObject({ user, session: { passport: { user: user.id } } });
    expect(await shop.sessions.revokeAll(user)).toBe(1);
    expect((await browser.get('/me')).json).toEqual({ user: null, session: {} });
    await browser.post('/login-listed', { username: user.id, password: 'right' });
    await browser.post('/logout');
    expect(await shop.sessions.list(user)).toEqual([]);
  });
});
