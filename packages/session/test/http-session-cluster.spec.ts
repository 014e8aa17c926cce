import 'reflect-metadata';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { redisSessionStore } from '@lockstep/session/redis';
import {
  eventually,
  type RedisCluster,
  type RedisSentinel,
  startRedisCluster,
  startRedisSentinel,
} from '@lockstep/testing';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, Browser, PLATFORMS, startHttpApp } from './support/http-app.js';
import { describeHttpSessions } from './support/http-conformance.js';
import { ShopController } from './support/shop.controller.js';

let cluster: RedisCluster;
let group: RedisSentinel;
let nodes: Cluster;
let masters: Redis;
beforeAll(async () => {
  [cluster, group] = await Promise.all([
    startRedisCluster(),
    startRedisSentinel({ args: ['--repl-diskless-sync-delay', '0'] }),
  ]);
  nodes = new Cluster([...cluster.urls]);
  masters = new Redis({ sentinels: [...group.sentinels], name: group.name, lazyConnect: true });
}, 60_000);
afterAll(async () => {
  nodes?.disconnect();
  masters?.disconnect();
  await Promise.all([cluster?.stop(), group?.stop()]);
});

describeHttpSessions({
  name: 'a Redis Cluster',
  backend: () => ({ modules: [RedisModule.forRoot({ client: nodes, namespace: 'http' })], store: redisSessionStore() }),
});

describeHttpSessions({
  name: 'Redis behind sentinels',
  backend: () => ({
    modules: [RedisModule.forRoot({ client: masters, namespace: 'http' })],
    store: redisSessionStore(),
  }),
});

describe.each(PLATFORMS)('a failover under %s', (platform) => {
  // One of its own: sentinels let time pass between two failovers.
  let own: RedisSentinel;
  let client: Redis;
  beforeAll(async () => {
    own = await startRedisSentinel({ args: ['--repl-diskless-sync-delay', '0'] });
    client = new Redis({ sentinels: [...own.sentinels], name: own.name, lazyConnect: true });
  }, 60_000);
  afterAll(async () => {
    client?.disconnect();
    await own?.stop();
  });

  it('costs users an answer that says when to come again, and neither their sessions nor their cookies', async () => {
    const modules = [RedisModule.forRoot({ client, namespace: 'failover' })];
    const session = { store: redisSessionStore() };
    const shop = await startHttpApp({ platform, controllers: [ShopController], imports: modules, session });
    const browser = new Browser(shop.url);
    await browser.post('/set/cart', { value: ['tea'] });
    await browser.post('/login/dora');
    await shop.app.get(RedisConnection).command('test', 'wait', 1, 1_000);
    const answers: Answer[] = [];
    let isOver = false;
    const asking = async (): Promise<void> => {
      while (!isOver) answers.push(await browser.get('/read/cart'));
    };
    const asked = asking();
    await own.failover();
    isOver = true;
    await asked;
    for (const { status, headers, setCookies, json } of answers) {
      expect([200, 503]).toContain(status);
      expect(setCookies).toEqual([]);
      if (status === 503) expect(headers.get('retry-after')).toBe('1');
      else expect(json.principal).toBe('dora');
    }
    await eventually(
      async () => {
        const { json } = await browser.get('/read/cart');
        expect(json).toEqual({ value: ['tea'], principal: 'dora', exists: true });
      },
      { timeoutMs: 30_000, intervalMs: 100 },
    );
    await shop.close();
  }, 60_000);
});
