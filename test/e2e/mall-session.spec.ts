import { usePostgres } from '@lockstep/testing/vitest';
import { Browser } from 'sample-app/browser';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mall, type MallOptions } from '../support/mall.js';
import { Customer, newAccount, PASSWORD } from '../support/mall-customer.js';
import { useOwnRedis } from '../support/own-redis.js';

const CHOSEN = 'mall.preference.chosen';
const TAKEN = 'mall.checkout.taken';
const MERGED = 'mall.cart.merged';
const postgres = usePostgres();
const redis = useOwnRedis();

describe.each([
  ['on Redis and Postgres', true],
  ['on Postgres alone', false],
])('a customer of the mall %s', (_, withRedis) => {
  /** Two instances that have nothing in common but the servers. */
  let www: Mall;
  let order: Mall;

  const open = (at: Partial<MallOptions> = {}): Promise<Mall> =>
    Mall.open({ databaseUrl: postgres.url, ...(withRedis ? { redisUrl: redis.url } : {}), roles: 'web', ...at });

  beforeAll(async () => {
    [www, order] = await Promise.all([open(), open()]);
  }, 60_000);

  afterAll(async () => {
    await Promise.all([www?.close(), order?.close()]);
    for (const mall of [www, order]) {
      expect(mall?.child.unhandledRejections).toEqual([]);
      expect(mall?.child.lines.join('\n')).not.toContain(PASSWORD);
    }
  });

  it('is himself on order, at another instance, after a login on www, by a cookie that both hosts share', async () => {
    const customer = new Customer();
    const account = await customer.signUp(www);
    const login = await customer.login(www, account);

    expect(login).toMatchObject({ status: 200, body: { name: account.name } });
    expect(login.setCookies).toEqual([
      expect.stringMatching(/^sid=s1\.\S+; Domain=mall\.localhost; Path=\/; HttpOnly; SameSite=Lax$/),
    ]);
    expect(await customer.onOrder.ask(order, 'GET /me')).toMatchObject({ status: 200, body: login.body });
    expect(customer.browser.cookiesFor('elsewhere.localhost')).toBe('');
  });

  it('keeps what requests side by side at two instances have written', async () => {
    for (const [language, currency] of [
      ['fr', 'CNY'],
      ['zh', 'EUR'],
      ['en', 'CNY'],
    ]) {
      const customer = new Customer();
      await customer.login(www, await customer.signUp(www));
      await Promise.all([
        customer.ask(www, 'PUT /preferences/language', { value: language }),
        customer.onOrder.ask(order, 'PUT /preferences/currency', { value: currency }),
      ]);
      expect((await customer.ask(www, 'GET /preferences')).body).toEqual({ language, currency });
    }
  });

  it('is not let in by a wrong password, nor told whether the name exists', async () => {
    const customer = new Customer();
    const account = await customer.signUp(www);
    const wrong = await customer.login(www, { ...account, password: 'wrong, quite wrong' });
    const nobody = await customer.login(www, newAccount());

    expect(wrong).toMatchObject({ status: 401, body: { code: 'CREDENTIALS_WRONG' } });
    expect({ status: nobody.status, body: nobody.body }).toEqual({ status: wrong.status, body: wrong.body });
    expect([...wrong.setCookies, ...nobody.setCookies]).toEqual([]);
    expect(await customer.ask(www, 'POST /customers', account)).toMatchObject({ body: { code: 'NAME_TAKEN' } });
  });

  it("sees his devices, ends one whose next request is a visitor's, and then all others", async () => {
    const laptop = new Customer(new Browser('laptop'));
    const phone = new Customer(new Browser('phone'));
    const tablet = new Customer(new Browser('tablet'));
    const account = await laptop.signUp(www);
    for (const device of [laptop, phone, tablet]) await device.login(www, account);

    const devices = await laptop.devices(order);
    const current = devices.filter(({ isCurrent }) => isCurrent);
    expect(devices.map(({ meta }) => meta.userAgent).sort()).toEqual(['laptop', 'phone', 'tablet']);
    expect(current.map(({ meta }) => meta.userAgent)).toEqual(['laptop']);

    const handle = devices.find(({ meta }) => meta.userAgent === 'phone')?.handle;
    expect((await laptop.ask(order, `DELETE /me/devices/${handle}`)).body).toEqual({ revoked: 1 });
    expect(await phone.ask(www, 'GET /me')).toMatchObject({ status: 401, body: { code: 'SESSION_REQUIRED' } });
    expect((await laptop.ask(order, `DELETE /me/devices/${handle}`)).status).toBe(404);
    expect((await laptop.ask(www, 'DELETE /me/devices')).body).toEqual({ revoked: 1 });
    expect(await tablet.isLoggedIn(order)).toBe(false);
    expect(await laptop.isLoggedIn(order)).toBe(true);
  });

  it('cannot end the device of another customer', async () => {
    const [ann, bob] = [new Customer(), new Customer()];
    for (const one of [ann, bob]) await one.login(www, await one.signUp(www));
    const [device] = await ann.devices(www);
    expect((await bob.ask(www, `DELETE /me/devices/${device?.handle}`)).status).toBe(404);
    expect(await ann.isLoggedIn(order)).toBe(true);
  });

  it('stays logged out although a slow request of before writes to the session', async () => {
    const customer = new Customer();
    await customer.login(www, await customer.signUp(www));
    const before = customer.copy();
    await using stopped = await open({ pauseAt: CHOSEN });
    const slow = before.copy().onOrder.ask(stopped, 'PUT /preferences/language', { value: 'zh' });
    await stopped.child.reached(CHOSEN);
    expect((await customer.ask(www, 'POST /logout')).setCookies).toEqual([expect.stringContaining('Max-Age=0')]);
    stopped.child.sigcont();

    const late = await slow;
    expect({ status: late.status, setCookies: late.setCookies }).toEqual({ status: 200, setCookies: [] });
    expect(await before.isLoggedIn(order)).toBe(false);
    expect((await before.ask(order, 'GET /preferences')).body.language).toBe('en');
  }, 60_000);

  it('leaves nothing of his session to who logs in after him on the same device', async () => {
    const device = new Customer();
    const [ann, bob] = [await device.signUp(www), await device.signUp(www)];
    await device.login(www, ann);
    await device.ask(www, 'PUT /preferences/language', { value: 'zh' });
    await device.login(www, bob);
    expect((await device.ask(order, 'GET /preferences')).body.language).toBe('en');
    expect((await device.ask(order, 'GET /me')).body.name).toBe(bob.name);
  });

  it('is not acted for by pages of other sites, while those of www may ask order', async () => {
    const customer = new Customer();
    const account = await customer.signUp(www);
    await customer.login(www, account);
    const choice = { value: 'fr' };
    const ask = async (page: string): Promise<number> =>
      (await customer.onOrder.ask(order, 'PUT /preferences/language', choice, page)).status;

    expect(await ask('www.mall.localhost')).toBe(200);
    expect(await ask('evil.example')).toBe(403);
    expect(await ask('someone.mall.localhost')).toBe(403);
    expect((await customer.ask(www, 'POST /login', account, 'evil.example')).status).toBe(403);
    expect((await www.call('POST', '/login', {}, account)).status).toBe(200);
  });

  it('has a cart as a visitor, which is added to his own when he logs in, once', async () => {
    const [tea, cup] = [await www.shelve(9), await www.shelve(9)];
    const [laptop, phone] = [new Customer(), new Customer()];
    const account = await phone.signUp(www);
    await phone.login(www, account);
    await phone.ask(www, 'POST /cart/items', { sku: tea, qty: 1 });

    await laptop.ask(www, 'POST /cart/items', { sku: tea, qty: 2 });
    const visitor = await laptop.ask(www, 'POST /cart/items', { sku: cup, qty: 1 });
    expect(visitor.body.of).toBe('visitor');
    const [first, second] = [laptop, laptop.copy()];
    const logins = await Promise.all([first.login(www, account), second.login(order, account)]);

    // Both may have been read before the other one took the session with it.
    expect(logins.map(({ status }) => status).sort()).toEqual([200, expect.toBeOneOf([200, 401])]);
    expect(await phone.cart(order)).toEqual({ [tea]: 3, [cup]: 1 });
    await phone.login(www, account);
    expect(await phone.cart(www)).toEqual({ [tea]: 3, [cup]: 1 });
  });

  it("has his visitor's cart once although the instance died after it was merged, before he was logged in", async () => {
    const cup = await www.shelve(9);
    const customer = new Customer();
    const account = await customer.signUp(www);
    await customer.ask(www, 'POST /cart/items', { sku: cup, qty: 2 });
    await using doomed = await open({ killAt: MERGED });
    expect(await customer.tryToAsk(doomed, 'POST /login', account)).toBeUndefined();
    expect((await doomed.child.exited).signal).toBe('SIGKILL');

    expect(await customer.cart(www)).toEqual({ [cup]: 2 });
    expect((await customer.login(www, account)).status).toBe(200);
    expect(await customer.cart(order)).toEqual({ [cup]: 2 });
  }, 60_000);

  it('has all pieces that were put into his cart at the same moment, up to what a cart holds', async () => {
    const cup = await www.shelve(9);
    const customer = new Customer();
    await customer.login(www, await customer.signUp(www));
    const add = (mall: Mall, qty: number): Promise<{ status: number }> =>
      customer.ask(mall, 'POST /cart/items', { sku: cup, qty });
    await Promise.all([1, 2, 3, 4].flatMap((qty) => [add(www, qty), add(order, qty)]));
    expect(await customer.cart(www)).toEqual({ [cup]: 20 });

    const refused = await customer.ask(www, 'POST /cart/items', { sku: cup, qty: 81 });
    expect(refused).toMatchObject({ status: 409, body: { code: 'CART_FULL' } });
    expect(await customer.cart(order)).toEqual({ [cup]: 20 });
    await customer.ask(www, `DELETE /cart/items/${cup}`);
    expect(await customer.cart(order)).toEqual({});
    expect((await customer.ask(www, 'POST /cart/items', { sku: 'no-such-cup', qty: 1 })).status).toBe(404);
  });

  it('checks out on order once however often he clicks; what is sold out stays in the cart', async () => {
    const [cup, rare] = [await www.shelve(9), await www.shelve(1)];
    const customer = new Customer();
    await customer.login(www, await customer.signUp(www));
    await customer.ask(www, 'POST /cart/items', { sku: cup, qty: 2 });
    await customer.ask(www, 'POST /cart/items', { sku: rare, qty: 2 });
    const page = await customer.onOrder.ask(order, 'GET /checkout');
    expect(page.body).toMatchObject({ totalCents: 4 * 900 });
    // Another tab; it was not on the page, so it is not ordered.
    await customer.ask(www, 'POST /cart/items', { sku: cup, qty: 1 });
    const submit = { lines: page.body.lines, orderToken: page.body.orderToken };
    await Promise.all([www, order].map((mall) => customer.onOrder.ask(mall, 'POST /checkout', submit)));
    const again = await customer.onOrder.ask(order, 'POST /checkout', submit);

    expect(again).toMatchObject({ status: 201, replayed: true });
    expect(again.body).toMatchObject({ orders: [{ sku: cup, qty: 2 }], soldOut: [{ sku: rare, qty: 2 }] });
    expect(await customer.cart(www)).toEqual({ [cup]: 1, [rare]: 2 });
    expect(await www.piecesLeft(cup)).toBe(7);
    expect((await customer.ask(www, 'GET /orders')).body).toHaveLength(1);
  });

  it('is still logged in, and has his checkout whole, when the instance that logged him in died in the middle of it', async () => {
    const [cup, pot] = [await www.shelve(9), await www.shelve(9)];
    const customer = new Customer();
    const account = await customer.signUp(www);
    await using doomed = await open({ killAt: TAKEN });
    await customer.login(doomed, account);
    for (const sku of [cup, pot]) await customer.ask(www, 'POST /cart/items', { sku, qty: 1 });
    const { lines, orderToken } = (await customer.ask(doomed, 'GET /checkout')).body;
    // In another tab: taken from the cart twice, it would be gone.
    await customer.ask(www, 'POST /cart/items', { sku: cup, qty: 1 });
    expect(await customer.tryToAsk(doomed, 'POST /checkout', { lines, orderToken })).toBeUndefined();

    await expect
      .poll(async () => (await customer.ask(order, 'POST /checkout', { lines, orderToken })).status, {
        timeout: 15_000,
        interval: 200,
      })
      .toBe(201);
    expect((await customer.ask(www, 'GET /orders')).body).toHaveLength(2);
    expect(await customer.cart(www)).toEqual({ [cup]: 1 });
    expect([await www.piecesLeft(cup), await www.piecesLeft(pot)]).toEqual([8, 8]);
  }, 60_000);

  it('must be logged in for his devices and the checkout; a client of the gateway orders without a session', async () => {
    const visitor = new Customer();
    for (const path of ['/me', '/me/devices', '/checkout']) {
      expect(await visitor.ask(order, `GET ${path}`)).toMatchObject({
        status: 401,
        body: { code: 'SESSION_REQUIRED' },
      });
      expect((await order.call('GET', path, { 'x-buyer': 'ann' })).status).toBe(401);
    }
    expect((await visitor.ask(order, 'GET /orders')).status).toBe(401);
    const answer = await order.call('GET', '/orders', { 'x-buyer': 'ann' });
    expect({ status: answer.status, cookies: answer.headers.getSetCookie() }).toEqual({ status: 200, cookies: [] });
  });

  it('cannot become somebody else by a header while he is logged in', async () => {
    const cup = await www.shelve(1);
    const customer = new Customer();
    await customer.login(www, await customer.signUp(www));
    const cookie = customer.browser.cookiesFor('www.mall.localhost');
    const headers = { cookie, 'x-buyer': 'somebody-else', 'idempotency-key': newAccount().name };
    // fetch() has the address as its host, whose cookie goes by the same name.
    expect((await www.call('POST', '/orders', headers, { sku: cup, qty: 1 })).status).toBe(201);
    expect((await customer.ask(www, 'GET /orders')).body).toHaveLength(1);
  });
});
