import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { CurrentSession, RequireSession, type SessionRef } from '@lockstep/session';
import { redisSessionStore } from '@lockstep/session/redis';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Controller, Get } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { anyUser, Browser, type HttpApp, PLATFORMS, startHttpApp } from './support/http-app.js';
import { held, ShopController } from './support/shop.controller.js';

const IDLE_MS = 600_000;
const redis = useRedis();

@Controller('recent')
class RecentController {
  @Get()
  @RequireSession({ maxAge: '5m' })
  recent(@CurrentSession() { loggedInAt, expiresAt }: SessionRef): object {
    return { loggedInAt, expiresAt };
  }
}

describe.each(PLATFORMS)('the times of a session on %s', (platform) => {
  let shop: HttpApp;
  let connection: RedisConnection;
  beforeAll(async () => {
    const modules = [RedisModule.forRoot({ url: redis.url, namespace: `times-${randomUUID().slice(0, 8)}` })];
    const session = { store: redisSessionStore(), idle: IDLE_MS, touchAfter: 0 };
    const controllers = [ShopController, RecentController];
    shop = await startHttpApp({ platform, controllers, imports: modules, session });
    connection = shop.app.get(RedisConnection);
  });
  afterAll(() => shop.close());
  afterEach(() => vi.useRealTimers());

  async function keyOf(user: { id: string }): Promise<string> {
    const [info] = await shop.sessions.list(user);
    const keys = await connection.command('test', 'keys', `${connection.namespace}:session:*:${info?.handle}`);
    return String((keys as string[])[0]);
  }

  it('begin anew with a use before its answer is made, by the command that reads it', async () => {
    const browser = new Browser(shop.url);
    const user = anyUser();
    await browser.post(`/login/${user.id}`);
    const key = await keyOf(user);
    await connection.command('test', 'pexpire', key, IDLE_MS / 2);
    const gate = held();
    const slow = browser.clone().post(`/slow/form?gate=${gate.name}`);
    await gate.entered;
    expect(Number(await connection.command('test', 'pttl', key))).toBeGreaterThan(IDLE_MS * 0.9);
    gate.open();
    await slow;
  });

  it('are those of the store, whatever the clock of the process says', async () => {
    const browser = new Browser(shop.url);
    const user = anyUser();
    await browser.post(`/login/${user.id}`);
    const { json: before } = await browser.get('/recent');
    for (const years of [-20, 20]) {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + years * 365 * 86_400_000 });
      const { status, json } = await browser.get('/recent');
      vi.useRealTimers();
      expect([status, json]).toEqual([200, before]);
    }
    expect(Number(await connection.command('test', 'pttl', await keyOf(user)))).toBeGreaterThan(IDLE_MS * 0.9);
  });

  it('end with it, though its cookie lives on, which is then as good as none', async () => {
    const browser = new Browser(shop.url);
    const user = anyUser();
    await browser.post(`/login/${user.id}`);
    await connection.command('test', 'pexpire', await keyOf(user), 20);
    await eventually(async () => expect(await shop.sessions.list(user)).toEqual([]));
    const answer = await browser.get('/read/x');
    expect(answer.json).toEqual({ value: null, principal: null, exists: false });
    expect(answer.setCookies).toEqual([]);
  });
});
