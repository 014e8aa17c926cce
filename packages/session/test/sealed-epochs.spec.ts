import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import { RedisModule } from '@lockstep/redis';
import { redisEpochStore } from '@lockstep/session/redis';
import { type EpochStore, MemoryEpochStore, sealedCookieStore } from '@lockstep/session/sealed';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ClientKeptController } from './support/client-kept.controller.js';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { openSealed } from './support/sealed-keeping.js';
import { held, ShopController } from './support/shop.controller.js';

const controllers = [ShopController, ClientKeptController];
const server = useRedis();

/** Notes what it is asked, and can be down. */
class WatchedEpochs implements EpochStore {
  readonly inner = new MemoryEpochStore();
  readonly asked: string[] = [];
  isDown = false;

  read(group: string): Promise<number> {
    return this.answer('read', () => this.inner.read(group));
  }

  bump(group: string, ttlMs: number): Promise<number> {
    return this.answer('bump', () => this.inner.bump(group, ttlMs));
  }

  private async answer(operation: string, step: () => Promise<number>): Promise<number> {
    this.asked.push(operation);
    if (this.isDown) throw new StoreUnavailableError({ store: 'epochs', operation, outcome: 'not-applied' });
    return step();
  }
}

describe.each(PLATFORMS)('revocation of sessions that clients keep, on %s', (platform) => {
  const epochs = new WatchedEpochs();
  let shop: HttpApp;
  let lenient: HttpApp;
  beforeAll(async () => {
    const store = sealedCookieStore({ epochs: { useFactory: () => epochs } });
    shop = await startHttpApp({ platform, controllers, session: { store } });
    lenient = await startHttpApp({ platform, controllers, session: { store, onStoreDown: 'anonymous' } });
  });
  afterAll(() => Promise.all([shop.close(), lenient.close()]));
  afterEach(() => {
    epochs.isDown = false;
    epochs.asked.length = 0;
  });

  async function loggedIn(id: string, at = shop): Promise<Browser> {
    const browser = new Browser(at.url);
    await browser.post(`/login/${id}`);
    return browser;
  }

  it('ends all sessions of a user at once, and of nobody else', async () => {
    const [one, two, other] = [await loggedIn('ann'), await loggedIn('ann'), await loggedIn('ben')];
    expect((await one.post('/kept/revoke-all')).json).toEqual({ ended: -1 });
    expect((await one.get('/kept/who')).json).toEqual({ id: null, handle: null });
    expect((await two.get('/kept/who')).json).toEqual({ id: null, handle: null });
    expect((await other.get('/kept/who')).json).toMatchObject({ id: 'ben' });
  });

  it('lets a login that comes later be, and the user of one who logs in again where he is', async () => {
    const [here, there] = [await loggedIn('cat'), await loggedIn('cat')];
    await here.post('/kept/revoke-others');
    expect((await here.get('/kept/who')).json).toMatchObject({ id: 'cat' });
    expect((await there.get('/kept/who')).json).toEqual({ id: null, handle: null });
    expect((await (await loggedIn('cat')).get('/kept/who')).json).toMatchObject({ id: 'cat' });
  });

  it('is not undone by a request that was slow and is answered afterwards', async () => {
    const browser = await loggedIn('dan');
    const [slow, gate] = [browser.clone(), held()];
    const answer = slow.post(`/slow/b?gate=${gate.name}`);
    await gate.entered;
    await browser.post('/kept/revoke-all');
    gate.open();
    expect((await answer).setCookies).toHaveLength(1);
    expect((await slow.get('/kept/who')).json).toEqual({ id: null, handle: null });
  });

  it('costs one read for a request of somebody, and nothing for a visitor', async () => {
    const browser = await loggedIn('eve');
    epochs.asked.length = 0;
    await browser.post('/set/color', { value: 'red' });
    expect(epochs.asked).toEqual(['read']);
    epochs.asked.length = 0;
    const visitor = new Browser(shop.url);
    await visitor.post('/set/color', { value: 'red' });
    await visitor.get('/read/color');
    visitor.cookies.set('sid', `${browser.token?.slice(0, -1)}`);
    await visitor.get('/read/color');
    expect(epochs.asked).toEqual([]);
  });

  it('that cannot be asked about is 503 for somebody, whose cookie is left alone, and nothing to a visitor', async () => {
    const [browser, visitor] = [await loggedIn('fay'), new Browser(shop.url)];
    await visitor.post('/set/color', { value: 'red' });
    epochs.isDown = true;
    const answer = await browser.get('/kept/who');
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(answer.setCookies).toEqual([]);
    expect((await visitor.get('/read/color')).json).toMatchObject({ value: 'red' });
    expect((await visitor.post('/login/fay')).status).toBe(503);
    expect((await sameAt(lenient, browser).get('/kept/who')).json).toEqual({ id: null, handle: null });
    epochs.isDown = false;
    expect((await browser.get('/kept/who')).json).toMatchObject({ id: 'fay' });
  });

  it('of one session, or of all but one, is refused by name', async () => {
    const misuse = expect.objectContaining({ code: 'SESSION_MISUSE' });
    await expect(shop.sessions.revokeAll({ id: 'gus' }, { except: 'handle' })).rejects.toEqual(misuse);
    await expect(shop.sessions.revoke({ id: 'gus' }, 'handle')).rejects.toEqual(misuse);
    expect(epochs.asked).toEqual([]);
  });

  it('by Redis holds for all processes', async () => {
    const init = {
      platform,
      controllers,
      imports: [RedisModule.forRoot({ url: server.url, namespace: server.prefix })],
      session: { store: sealedCookieStore({ epochs: redisEpochStore() }) },
    };
    const [one, other] = await Promise.all([startHttpApp(init), startHttpApp(init)]);
    const browser = await loggedIn('hal', one);
    const elsewhere = sameAt(other, browser);
    expect((await elsewhere.get('/kept/who')).json).toMatchObject({ id: 'hal' });
    await one.sessions.revokeAll({ id: 'hal' });
    expect((await elsewhere.get('/kept/who')).json).toEqual({ id: null, handle: null });
    expect((await browser.get('/kept/who')).json).toEqual({ id: null, handle: null });
    await Promise.all([one.close(), other.close()]);
  });
});

describe('the epoch of a login', () => {
  it('is remembered until every cookie from before has run out', async () => {
    const ttls: number[] = [];
    const store: EpochStore = { read: async () => 0, bump: async (_group, ttlMs) => ttls.push(ttlMs) };
    const epochs = { useFactory: () => store };
    const sessions = await openSealed({ epochs, maxSkew: '10s' }, { idle: '30m', absolute: '8h' });
    await sessions.revokeAll({ id: 'alice' });
    expect(ttls).toEqual([8 * 3_600_000 + 20_000]);
  });

  it('that was read before a revocation is refused after it, also when the login is answered later', async () => {
    const inner = new MemoryEpochStore();
    const sessions = await openSealed({ epochs: { useFactory: () => inner } });
    const user = { principal: { id: 'alice' }, amr: [], at: undefined };
    const begin = () =>
      sessions.keeping.login({ from: undefined, user, keepAttributes: true, attributes: new Map(), meta: '{}' });
    const early = begin();
    const revoked = sessions.revokeAll({ id: 'alice' });
    const [kept] = await Promise.all([early, revoked]);
    const late = await begin();
    if (kept === 'gone' || late === 'gone') throw new Error('gone');
    expect(await sessions.keeping.recognise(kept.token)?.load()).toBeUndefined();
    expect(await sessions.keeping.recognise(late.token)?.load()).toBeDefined();
  });
});

function sameAt(at: HttpApp, browser: Browser): Browser {
  const other = new Browser(at.url);
  other.cookies.set('sid', browser.token ?? '');
  return other;
}
