import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { IdempotencyModule, Idempotent, principalScope } from '@lockstep/idempotency';
import { CurrentSession, SessionModule, type SessionRef } from '@lockstep/session';
import { type CanActivate, Controller, type INestApplication, Logger, Module, Post, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let runs = 0;

/** Looks into the session before the handler is reached, so that the answer is watched from then on. */
class Looking implements CanActivate {
  canActivate(context: { switchToHttp(): { getRequest(): { session: Record<string, unknown> } } }): boolean {
    return context.switchToHttp().getRequest().session['cart'] !== false;
  }
}

@Controller()
class ShopController {
  @Post('login')
  async login(@CurrentSession() session: SessionRef): Promise<void> {
    session.set('cart', ['tea']);
    await session.login({ id: 'ann' });
  }

  @Post('order')
  @Idempotent()
  async order(@CurrentSession() session: SessionRef): Promise<object> {
    runs += 1;
    session.set('last', runs);
    return { order: runs };
  }

  @Post('order-looked')
  @UseGuards(Looking)
  @Idempotent()
  async orderLooked(@CurrentSession() session: SessionRef): Promise<object> {
    runs += 1;
    session.set('last', runs);
    await session.rotate();
    return { order: runs };
  }

  @Post('last')
  last(@CurrentSession() session: SessionRef): object {
    return { last: session.get('last') };
  }
}

@Module({
  imports: [
    SessionModule.forRoot({ keys: { current: 'a', keys: { a: 'a secret of thirty-two bytes or more' } } }),
    IdempotencyModule.forRoot({ scope: principalScope(), secret: 'at least sixteen bytes' }),
  ],
  controllers: [ShopController],
})
class Shop {}

describe.each([
  ['express', () => new ExpressAdapter()],
  ['fastify', () => new FastifyAdapter()],
])('an idempotent route in a session on %s', (_name, adapter) => {
  let app: INestApplication;
  let url: string;
  beforeAll(async () => {
    app = await NestFactory.create(Shop, adapter(), { logger: false, abortOnError: false });
    Logger.overrideLogger(false);
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  });
  afterAll(() => app.close());

  async function post(path: string, cookie?: string, key?: string) {
    const headers = { ...(cookie && { cookie }), ...(key && { 'idempotency-key': key }) };
    const response = await fetch(`${url}/${path}`, { method: 'POST', headers });
    const given = response.headers.getSetCookie()[0]?.split(';')[0];
    return { status: response.status, text: await response.text(), headers: response.headers, given };
  }

  it.each(['order', 'order-looked'])(
    'keys the request by the session’s user, keeps what it set, and replays %s without a cookie',
    async (path) => {
      const { given: cookie } = await post('login');
      const key = randomUUID();
      const first = await post(path, cookie, key);
      expect(first.status).toBe(201);
      const later = first.given ?? cookie;
      expect(later !== cookie).toBe(path === 'order-looked');
      const again = await post(path, later, key);
      expect([again.status, again.text]).toEqual([201, first.text]);
      expect(again.headers.get('idempotent-replayed')).toBe('true');
      expect(again.given).toBeUndefined();
      expect(JSON.parse((await post('last', later)).text)).toEqual({ last: JSON.parse(first.text).order });
    },
  );
});
