import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { redisSessionStore } from '@lockstep/session/redis';
import type { RedisCommandCounter } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countCommandsOf } from './support/count-commands.js';
import { Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { ShopController } from './support/shop.controller.js';

const redis = useRedis();

describe.each(PLATFORMS)('on %s, Redis is asked', (platform) => {
  let shop: HttpApp;
  let counter: RedisCommandCounter;
  let connection: RedisConnection;
  beforeAll(async () => {
    const namespace = `rt-${randomUUID().slice(0, 8)}`;
    const modules = [RedisModule.forRoot({ url: redis.url, namespace })];
    const session = { store: redisSessionStore() };
    shop = await startHttpApp({ platform, controllers: [ShopController], imports: modules, session });
    connection = shop.app.get(RedisConnection);
    counter = await countCommandsOf(connection, redis.url);
    // Scripts that a server does not know yet are sent once more, as text.
    const first = new Browser(shop.url);
    await first.post('/login/warm');
    await first.post('/set/a', { value: 1 });
    await first.post('/count');
    await first.post('/rotate');
    await first.post('/logout');
  });
  afterAll(async () => {
    counter.stop();
    await shop.close();
  });

  async function commandsOf(work: () => Promise<unknown>): Promise<number> {
    const before = (await counter.commands()).length;
    await work();
    return (await counter.commands()).length - before;
  }

  it('never by a visitor, once by a reader, twice by a writer', async () => {
    const visitor = new Browser(shop.url);
    expect(await commandsOf(() => visitor.get('/read/color'))).toBe(0);
    visitor.cookies.set('sid', `s1.${'A'.repeat(43)}.AAAAAAAA.a.${'A'.repeat(43)}`);
    expect(await commandsOf(() => visitor.get('/read/color'))).toBe(0);
    visitor.cookies.clear();
    expect(await commandsOf(() => visitor.post('/set/color', { value: 'red' }))).toBe(1);
    expect(await commandsOf(() => visitor.get('/read/color'))).toBe(1);
    expect(await commandsOf(() => visitor.get('/native'))).toBe(1);
    expect(await commandsOf(() => visitor.post('/set/color', { value: 'blue' }))).toBe(2);
    expect(await commandsOf(() => visitor.post('/count'))).toBe(2);
  });

  it('once more by a login, a new id and a logout', async () => {
    const browser = new Browser(shop.url);
    expect(await commandsOf(() => browser.post('/login/eve'))).toBe(1);
    expect(await commandsOf(() => browser.post('/rotate'))).toBe(2);
    expect(await commandsOf(() => browser.post('/logout'))).toBe(2);
  });
});
