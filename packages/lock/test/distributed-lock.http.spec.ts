import 'reflect-metadata';
import { currentLease, DistributedLock, Lease, type LockStore } from '@lockstep/lock';
import { eventually } from '@lockstep/testing';
import {
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Header,
  HttpCode,
  Inject,
  Param,
  ParseIntPipe,
  Post,
  Query,
  Req,
  Scope,
  SetMetadata,
  Sse,
  UseGuards,
  ValidationPipe,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { ApiOkResponse, ApiOperation, ApiProperty, DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { IsInt, IsString } from 'class-validator';
import { concat, Observable, of, Subject } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LockHttpApp, PLATFORMS, serveLocked } from './support/lock-http.js';

const FENCE = expect.stringMatching(/^\d{16}$/);

class Order {
  @ApiProperty()
  @IsString()
  sku!: string;

  @ApiProperty()
  @IsInt()
  qty!: number;
}

class Receipt {
  @ApiProperty()
  sku!: string;

  @ApiProperty()
  fence!: string;
}

/** Lets in only handlers that carry the metadata: lost metadata is a 403. */
class NeedsRole implements CanActivate {
  constructor(@Inject(Reflector) private readonly reflector: Reflector) {}
  canActivate(context: ExecutionContext): boolean {
    return this.reflector.get('role', context.getHandler()) === 'buyer';
  }
}

function receipt(sku: string, lease: Lease | undefined): Receipt {
  expect(lease).toBe(currentLease());
  return { sku, fence: String(lease?.fence) };
}

@Controller('orders')
class OrdersController {
  readonly #seen: string[] = [];

  @Post('above/:shop')
  @HttpCode(202)
  @Header('x-placed', 'above')
  @SetMetadata('role', 'buyer')
  @UseGuards(NeedsRole)
  @ApiOperation({ summary: 'Places an order' })
  @ApiOkResponse({ type: Receipt })
  @DistributedLock({ key: (shop: number, _lease: unknown, order: Order) => `${shop.toFixed()}:${order.sku}` })
  async above(
    @Param('shop', ParseIntPipe) shop: number,
    @Lease() lease: Lease,
    @Body() order: Order,
  ): Promise<Receipt> {
    this.#seen.push(`${shop}`);
    expect(order).toBeInstanceOf(Order);
    expect(lease.key).toBe(`${shop}:${order.sku}`);
    return receipt(order.sku, lease);
  }

  @DistributedLock({ key: (order: Order) => order.sku })
  @Post('below/:shop')
  @HttpCode(202)
  @Header('x-placed', 'below')
  @SetMetadata('role', 'buyer')
  @UseGuards(NeedsRole)
  @ApiOperation({ summary: 'Places an order' })
  @ApiOkResponse({ type: Receipt })
  async below(@Body() order: Order, @Query('note') note: string, @Lease() lease: Lease): Promise<Receipt> {
    this.#seen.push(note);
    return receipt(order.sku, lease);
  }

  @DistributedLock({ key: () => 'bare' })
  @Get('bare')
  async bare(@Lease() lease: Lease): Promise<Receipt> {
    return receipt('bare', lease);
  }

  @Get('second')
  @DistributedLock({ key: () => 'second' })
  async second(@Req() request: { url?: string }, @Lease() lease: Lease): Promise<Receipt> {
    return receipt(String(request.url), lease);
  }
}

@Controller({ path: 'scoped', scope: Scope.REQUEST })
class ScopedController {
  @Get(':sku')
  @DistributedLock({ key: (sku: string) => sku })
  async get(@Param('sku') sku: string, @Lease() lease: Lease): Promise<Receipt> {
    return receipt(sku, lease);
  }
}

const prices = new Subject<string>();

@Controller('prices')
class PricesController {
  @Get('last')
  @HttpCode(203)
  @DistributedLock({ key: () => 'prices' })
  last(): Observable<object> {
    const { fence } = currentLease() ?? {};
    return concat(of({}), of({ fence: String(fence), held: currentLease()?.isHeld() }));
  }

  @DistributedLock({ key: (sku: string) => `prices:${sku}` })
  @Sse('watch/:sku')
  watch(@Param('sku') sku: string, @Lease() lease: Lease): Observable<{ data: string }> {
    return new Observable((subscriber) => {
      const forward = (price: string): void => subscriber.next({ data: `${sku} ${price} ${lease.isHeld()}` });
      subscriber.add(prices.subscribe({ next: forward, complete: () => subscriber.complete() }));
    });
  }
}

let running: LockHttpApp;

async function post(path: string, body: object): Promise<[number, string | null, unknown]> {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${running.url}/orders/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  return [answer.status, answer.headers.get('x-placed'), await answer.json()];
}

async function hold(store: LockStore, key: string): Promise<() => Promise<unknown>> {
  await store.acquire({ key, token: 'another', ttlMs: 60_000, waitMs: 0, capacity: 1, fairness: 'fifo' as const });
  return () => store.release([{ key, token: 'another', deadline: 0 }]);
}

describe.each(PLATFORMS)('@DistributedLock on the routes of a controller on %s', (platform) => {
  beforeEach(async () => {
    running = await serveLocked({
      platform,
      controllers: [OrdersController, ScopedController, PricesController],
      configure: (app) => app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true })),
    });
  });
  afterEach(() => running.app.close());

  it('keeps guards, pipes, statuses and headers, and gives the lease to its argument, on either side', async () => {
    const order = { sku: 'tea', qty: 1, extra: 'stripped' };
    expect(await post('above/7', order)).toEqual([202, 'above', { sku: 'tea', fence: FENCE }]);
    expect(await post('below/7?note=n', order)).toEqual([202, 'below', { sku: 'tea', fence: FENCE }]);
  });

  it('refuses what a pipe refuses before it takes a lock', async () => {
    const release = await hold(running.store, 'tea');
    for (const path of ['above/7', 'below/7']) {
      expect(await post(path, { sku: 'tea', qty: 'many' })).toMatchObject([
        400,
        expect.anything(),
        { statusCode: 400 },
      ]);
    }
    expect(await post('above/seven', { sku: 'tea', qty: 1 })).toMatchObject([400, expect.anything(), {}]);
    await release();
  });

  it('answers 423 while another holds the lock', async () => {
    const release = await Promise.all(['7:tea', 'tea'].map((key) => hold(running.store, key)));
    for (const path of ['above/7', 'below/7']) {
      expect(await post(path, { sku: 'tea', qty: 1 })).toMatchObject([423, expect.anything(), { code: 'LOCK_BUSY' }]);
    }
    await Promise.all(release.map((free) => free()));
  });

  it('gives the lease to a handler with no other argument, and beside the request itself', async () => {
    const bare = await fetch(`${running.url}/orders/bare`);
    expect(await bare.json()).toEqual({ sku: 'bare', fence: FENCE });
    const second = await fetch(`${running.url}/orders/second`);
    expect(await second.json()).toEqual({ sku: '/orders/second', fence: FENCE });
  });

  it('works for controllers in request scope', async () => {
    const answer = await fetch(`${running.url}/scoped/tea`);
    expect(await answer.json()).toEqual({ sku: 'tea', fence: FENCE });
  });

  it('answers with the last value of an Observable, once the lock is given back', async () => {
    for (const _ of [1, 2]) {
      const answer = await fetch(`${running.url}/prices/last`);
      expect([answer.status, await answer.json()]).toEqual([203, { fence: FENCE, held: true }]);
    }
    const release = await hold(running.store, 'prices');
    expect((await fetch(`${running.url}/prices/last`)).status).toBe(423);
    await release();
  });

  it('holds the lock of server-sent events until the client has left', async () => {
    const leave = new AbortController();
    const stream = await fetch(`${running.url}/prices/watch/tea`, { signal: leave.signal });
    expect(stream.headers.get('content-type')).toContain('text/event-stream');
    const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader();
    await eventually(() => expect(prices.observed).toBe(true));
    prices.next('3.50');
    await eventually(async () => expect((await reader?.read())?.value).toContain('data: tea 3.50 true'));
    const another = {
      key: 'prices:tea',
      token: 'another',
      ttlMs: 60_000,
      waitMs: 0,
      capacity: 1,
      fairness: 'fifo' as const,
    };
    expect(await running.store.acquire(another)).toMatchObject({ status: 'busy' });
    leave.abort();
    await eventually(async () => expect(await running.store.acquire(another)).toMatchObject({ status: 'granted' }));
    expect(prices.observed).toBe(false);
  });

  it('answers 423 to a request for server-sent events while another holds the lock', async () => {
    const release = await hold(running.store, 'prices:tea');
    const stream = await fetch(`${running.url}/prices/watch/tea`);
    expect([stream.status, await stream.json()]).toMatchObject([423, { code: 'LOCK_BUSY' }]);
    await release();
  });

  it('documents the same in OpenAPI on either side', () => {
    const document = SwaggerModule.createDocument(running.app, new DocumentBuilder().build());
    const above = document.paths['/orders/above/{shop}']?.post;
    const below = document.paths['/orders/below/{shop}']?.post;
    expect(above).toMatchObject({
      summary: 'Places an order',
      parameters: [{ name: 'shop', in: 'path', schema: { type: 'number' } }],
      requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Order' } } } },
      responses: { 200: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Receipt' } } } } },
    });
    expect(below).toMatchObject({
      summary: 'Places an order',
      parameters: [{ name: 'note', in: 'query', schema: { type: 'string' } }],
      requestBody: above?.requestBody,
      responses: above?.responses,
    });
    expect(Object.keys(document.components?.schemas ?? {}).sort()).toEqual(['Order', 'Receipt']);
  });
});
