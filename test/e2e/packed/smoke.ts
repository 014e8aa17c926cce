// One program for Nest 11 and 12, Express and Fastify. The spec compiles it twice, as an ES module and as CommonJS,
// against the packed packages; it exits non-zero at the first expectation that fails.
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { IdempotencyModule, Idempotent } from '@lockstep/idempotency';
import { currentLease, DistributedLock, LockModule, LockService } from '@lockstep/lock';
import { CurrentSession, RequireSession, SessionModule, type SessionRef } from '@lockstep/session';
import { Body, Controller, Get, Inject, Injectable, Module, Post, Session } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';

interface PlaceOrder {
  readonly sku: string;
}
interface Order extends PlaceOrder {
  readonly number: number;
  readonly fence: string;
}

@Injectable()
class OrdersService {
  private placed = 0;

  @DistributedLock({ key: (order: PlaceOrder) => `sku:${order.sku}`, wait: 50 })
  async place(order: PlaceOrder): Promise<Order> {
    this.placed += 1;
    return { sku: order.sku, number: this.placed, fence: String(currentLease()?.fence) };
  }
}

@Controller('orders')
class OrdersController {
  constructor(@Inject(OrdersService) private readonly orders: OrdersService) {}

  @Post()
  @Idempotent({ required: true })
  async place(@Body() order: PlaceOrder): Promise<Order> {
    return this.orders.place(order);
  }
}

@Controller('account')
class AccountController {
  @Post('login')
  async login(@CurrentSession() session: SessionRef): Promise<void> {
    session.set('cart', ['anchor']);
    await session.login({ id: 'ann' });
  }

  @Get()
  @RequireSession()
  mine(@CurrentSession() { principal }: SessionRef, @Session() session: Record<string, unknown>): object {
    return { user: principal?.id, cart: session['cart'] };
  }
}

@Module({
  imports: [
    LockModule.forRoot({}),
    IdempotencyModule.forRoot({ scope: 'global', secret: 'sixteen bytes or more' }),
    SessionModule.forRoot({ keys: { current: 'a', keys: { a: 'a secret of thirty-two bytes or more' } } }),
  ],
  controllers: [OrdersController, AccountController],
  providers: [OrdersService],
})
class ShopModule {}

async function smoke(adapter: ExpressAdapter | FastifyAdapter): Promise<void> {
  const app = await NestFactory.create(ShopModule, adapter, { logger: ['error'] });
  await app.listen(0, '127.0.0.1');
  try {
    const url = await app.getUrl();
    await aRouteReplays(url);
    await errorsAreProblems(url, app.get(LockService));
    await aSessionFollows(url);
  } finally {
    await app.close();
  }
}

async function aRouteReplays(url: string): Promise<void> {
  const key = randomUUID();
  const first = await place(url, 'anchor', key);
  assert.deepEqual([first.status, first.body.number], [201, 1]);
  assert.match(String(first.body.fence), /^\d+$/);
  const again = await place(url, 'anchor', key);
  assert.deepEqual([again.status, again.body], [201, first.body]);
  const other = await place(url, 'anchor', randomUUID());
  assert.equal(other.body.number, 2);
}

async function errorsAreProblems(url: string, locks: LockService): Promise<void> {
  const missing = await place(url, 'anchor');
  assert.deepEqual([missing.status, missing.type], [400, 'application/problem+json']);
  const key = randomUUID();
  await place(url, 'anchor', key);
  const reused = await place(url, 'rope', key);
  assert.deepEqual([reused.status, reused.type], [422, 'application/problem+json']);
  await locks.using('sku:sail', { ttl: '5s' }, async () => {
    const busy = await place(url, 'sail', randomUUID());
    assert.deepEqual([busy.status, busy.type, busy.body.code], [423, 'application/problem+json', 'LOCK_BUSY']);
  });
}

async function aSessionFollows(url: string): Promise<void> {
  const stranger = await fetch(`${url}/account`);
  assert.deepEqual([stranger.status, stranger.headers.get('content-type')], [401, 'application/problem+json']);
  const login = await fetch(`${url}/account/login`, { method: 'POST' });
  const [cookie = ''] = login.headers.getSetCookie();
  assert.match(cookie, /^sid=s1\..+; HttpOnly/);
  const mine = await fetch(`${url}/account`, { headers: { cookie: cookie.split(';')[0] ?? '' } });
  assert.deepEqual(await mine.json(), { user: 'ann', cart: ['anchor'] });
}

interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly body: Record<string, unknown>;
}

async function place(url: string, sku: string, key?: string): Promise<Answer> {
  const headers = { 'content-type': 'application/json', ...(key === undefined ? {} : { 'idempotency-key': key }) };
  const response = await fetch(`${url}/orders`, { method: 'POST', headers, body: JSON.stringify({ sku }) });
  const type = response.headers.get('content-type')?.split(';')[0];
  return { status: response.status, type, body: (await response.json()) as Record<string, unknown> };
}

async function main(): Promise<void> {
  await smoke(new ExpressAdapter());
  console.log('express ok');
  await smoke(new FastifyAdapter());
  console.log('fastify ok');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
