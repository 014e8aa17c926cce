import 'reflect-metadata';
import { RequestContext } from '@lockstep/core';
import {
  type IdempotencyStore,
  IdempotencyToken,
  type IdempotencyTokenOptions,
  Idempotent,
  IssueIdempotencyToken,
  MemoryIdempotencyStore,
} from '@lockstep/idempotency';
import { Controller, Get, type MessageEvent, Post, Res, Sse, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { EMPTY, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { type HttpAppInit, problem, send, startHttpApp } from './support/http-app.js';

async function boot(metadata: { controllers?: Type[]; providers?: Type[] }, init: Partial<HttpAppInit> = {}) {
  const http = await startHttpApp({ platform: 'express', controllers: [], ...metadata, ...init });
  await http.close();
}

function withTokens(tokens: unknown): Partial<HttpAppInit> {
  return { options: { tokens: tokens as IdempotencyTokenOptions } };
}

@Controller()
class Checkout {
  @Get()
  @IssueIdempotencyToken('order', { deliver: 'body.token' })
  confirm(): object {
    return {};
  }

  @Post()
  @IdempotencyToken('order', { from: 'body.token' })
  async submit(): Promise<void> {}
}

describe('an application does not start', () => {
  it.each([
    ['@IdempotencyToken', IdempotencyToken('order')],
    ['@IssueIdempotencyToken', IssueIdempotencyToken('order')],
  ])('when %s stands on a method that is no route', async (name, decorate) => {
    class Billing {
      async charge(): Promise<void> {}
    }
    const descriptor = Object.getOwnPropertyDescriptor(Billing.prototype, 'charge') as TypedPropertyDescriptor<
      () => Promise<void>
    >;
    decorate(Billing.prototype, 'charge', descriptor);
    Object.defineProperty(Billing.prototype, 'charge', descriptor);
    const message = `Billing.charge is decorated with ${name}, but it is no`;
    await expect(boot({ providers: [Billing] })).rejects.toThrow(message);
    Controller()(Billing);
    await expect(boot({ controllers: [Billing] })).rejects.toThrow(message);
  });

  it('when a route has both @Idempotent and a token, in either order', async () => {
    @Controller()
    class Orders {
      @Post()
      @Idempotent()
      @IdempotencyToken('order')
      async place(): Promise<void> {}
    }
    await expect(boot({ controllers: [Orders] })).rejects.toThrow('@Idempotent and @IdempotencyToken');
    @Controller()
    class Wizard {
      @Post()
      @IssueIdempotencyToken('order')
      @Idempotent()
      async next(): Promise<void> {}
    }
    await expect(boot({ controllers: [Wizard] })).rejects.toThrow('@Idempotent and @IssueIdempotencyToken');
  });

  it('when the answer that should bring a token does not come back', async () => {
    @Controller()
    class Orders {
      @Get()
      @IssueIdempotencyToken('order')
      confirm(@Res() response: { send(body: string): void }): void {
        response.send('done');
      }
    }
    await expect(boot({ controllers: [Orders] })).rejects.toThrow(
      '@IssueIdempotencyToken, but it answers by @Res() itself',
    );
    @Controller()
    class Events {
      @Sse()
      @IssueIdempotencyToken('order')
      watch(): Observable<MessageEvent> {
        return EMPTY;
      }
    }
    await expect(boot({ controllers: [Events] })).rejects.toThrow('sends events');
  });

  it('when the module is not imported', async () => {
    @Controller()
    class Confirm {
      @Get()
      @IssueIdempotencyToken('order')
      confirm(): void {}
    }
    const compiled = Test.createTestingModule({ controllers: [Confirm] }).compile();
    await expect(compiled).rejects.toThrow('@IssueIdempotencyToken needs IdempotencyModule.forRoot');
  });

  it('when the store cannot issue what a route issues or takes, unless the tokens are stateless', async () => {
    const inner = new MemoryIdempotencyStore();
    const portOnly: IdempotencyStore = {
      begin: (request) => inner.begin(request),
      renew: (items) => inner.renew(items),
      settle: (claim, settlement) => inner.settle(claim, settlement),
      sweep: (limit) => inner.sweep(limit),
      listUncertain: (limit) => inner.listUncertain(limit),
      resolve: (id, resolution) => inner.resolve(id, resolution),
    };
    const store = { useFactory: () => portOnly };
    @Controller()
    class Confirm {
      @Get()
      @IssueIdempotencyToken('order')
      confirm(): void {}
    }
    @Controller()
    class Submit {
      @Post()
      @IdempotencyToken('order')
      async submit(): Promise<void> {}
    }
    for (const type of [Confirm, Submit]) {
      await expect(boot({ controllers: [type] }, { store })).rejects.toThrow("cannot issue the tokens of 'order'");
    }
    await boot({ controllers: [Checkout] }, { store, ...withTokens({ mode: 'stateless' }) });
  });

  it('when an answer could be forgotten while its stateless token still counts', async () => {
    const change = { retention: '30m', tokens: { mode: 'stateless', ttl: '30m' } } as const;
    await expect(boot({}, { options: change })).rejects.toThrow("'tokens.ttl'");
    const perPurpose = { retention: '1h', tokens: { purposes: { order: { mode: 'stateless', ttl: '1h' } } } } as const;
    await expect(boot({}, { options: perPurpose })).rejects.toThrow("'tokens.purposes.order.ttl'");
    @Controller()
    class Confirm {
      @Get()
      @IssueIdempotencyToken('order', { ttl: '25h' })
      confirm(): void {}
    }
    const stateless = withTokens({ mode: 'stateless' });
    await expect(boot({ controllers: [Confirm] }, stateless)).rejects.toThrow("'ttl' is '25h'");
    await boot({ controllers: [Confirm] });
  });

  it.each([
    ["'tokens' is null", null],
    ["'tokens.mode' is 'fast'", { mode: 'fast' }],
    ["'tokens.ttl' is '0s'", { ttl: '0s' }],
    ["'tokens.ttl' is '31d'", { ttl: '31d' }],
    ["'tokens.purposes.order' is 'single'", { purposes: { order: 'single' } }],
    ["'tokens.purposes.order.mode' is 1", { purposes: { order: { mode: 1 } } }],
    ["'purpose' is 'two words'", { purposes: { 'two words': {} } }],
    ["'keyring.keys.k1' has 5 bytes", { keyring: { current: 'k1', keys: { k1: 'short' } } }],
  ])('when Option %s', async (message, tokens) => {
    await expect(boot({}, withTokens(tokens))).rejects.toThrow(`Option ${message}`);
  });
});

describe('a decorator refuses at once', () => {
  it.each<[string, () => unknown]>([
    ["'purpose' is ''", () => IdempotencyToken('')],
    ["'purpose' is 'a/b'", () => IssueIdempotencyToken('a/b')],
    ["'from' is 'cookie:token'", () => IdempotencyToken('order', { from: 'cookie:token' as 'header' })],
    ["'from' is 'body.a.b'", () => IdempotencyToken('order', { from: 'body.a.b' })],
    ["'deliver' is 'header:'", () => IssueIdempotencyToken('order', { deliver: 'header:' })],
    ["'deliver' is 'body.'", () => IssueIdempotencyToken('order', { deliver: 'body.' })],
    ["'options' is null", () => IdempotencyToken('order', null as never)],
    ["'options' is null", () => IssueIdempotencyToken('order', null as never)],
    ["'onLeaseExpiry' is 'never'", () => IdempotencyToken('order', { onLeaseExpiry: 'never' as 'retry' })],
  ])('the option %s', (message, decorate) => {
    expect(decorate).toThrow(message);
  });
});

describe('an answer that cannot take its token along', () => {
  @Controller('undeliverable')
  class Undeliverable {
    @Get('list')
    @IssueIdempotencyToken('order', { deliver: 'body.token' })
    list(): object {
      return [1];
    }

    @Get('nothing')
    @IssueIdempotencyToken('order', { deliver: 'body.token' })
    nothing(): object {
      return undefined as unknown as object;
    }

    @Get('taken')
    @IssueIdempotencyToken('order', { deliver: 'body.token' })
    taken(): object {
      return { token: 'of the session' };
    }

    @Get('serialized')
    @IssueIdempotencyToken('order', { deliver: 'body.token' })
    serialized(): object {
      return { secret: 1, toJSON: () => ({ shown: 2 }) };
    }
  }

  it.each(['list', 'nothing', 'taken'])('is a fault of the program, and issues none: %s', async (path) => {
    const http = await startHttpApp({ platform: 'express', controllers: [Undeliverable] });
    const answer = await send(`${http.url}/undeliverable/${path}`, { method: 'GET' });
    expect(problem(answer)).toMatchObject({ status: 500, code: 'IDEMPOTENCY_TOKEN_UNDELIVERABLE' });
    await http.close();
  });

  it('is none that says itself how it is sent', async () => {
    const http = await startHttpApp({ platform: 'express', controllers: [Undeliverable] });
    const answer = problem(await send(`${http.url}/undeliverable/serialized`, { method: 'GET' }));
    expect(answer).toEqual({ shown: 2, token: expect.stringMatching(/^[\w-]{32}$/) });
    await http.close();
  });
});

it('nothing of this keeps a request context from being there where the scope is asked', async () => {
  let asked = 0;
  const scope = (): string => {
    asked += RequestContext.current() ? 1 : 0;
    return 'ann';
  };
  const http = await startHttpApp({ platform: 'fastify', controllers: [Checkout], options: { scope } });
  const { token } = problem(await send(http.url, { method: 'GET' }));
  expect((await send(http.url, { body: { token } })).status).toBe(201);
  expect(asked).toBe(2);
  await http.close();
});
