import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import {
  IdempotencyModule,
  type IdempotencyModuleOptions,
  type IdempotencyScope,
  Idempotent,
  type IdempotentOptions,
} from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import {
  Body,
  Controller,
  type DynamicModule,
  Get,
  type INestApplication,
  Inject,
  Injectable,
  type MessageEvent,
  Module,
  type NestInterceptor,
  type NestModule,
  Next,
  Post,
  type Provider,
  Render,
  Res,
  Sse,
  type Type,
} from '@nestjs/common';
import { APP_INTERCEPTOR, ApplicationConfig } from '@nestjs/core';
import { EventPattern } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { EMPTY, map, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { SECRET, send, silentMemoryStore, startHttpApp } from './support/http-app.js';

const options: IdempotencyModuleOptions = { scope: 'global', secret: SECRET };

async function boot(metadata: { controllers?: Type[]; providers?: Provider[] }, change: object = {}): Promise<void> {
  const imports = [IdempotencyModule.forRoot({ ...options, store: silentMemoryStore(), ...change })];
  const module = await Test.createTestingModule({ ...metadata, imports }).compile();
  const app = module.createNestApplication({ logger: false });
  await app.init();
  await app.close();
}

describe('an application does not start', () => {
  it('when @Idempotent stands on a method of a provider', async () => {
    @Injectable()
    class Billing {
      @Idempotent()
      async charge(): Promise<void> {}
    }
    await expect(boot({ providers: [Billing] })).rejects.toThrow(
      'Billing.charge is decorated with @Idempotent, but it is no',
    );
  });

  it.each(['a factory', 'a value'])('also when the provider came by %s', async (way) => {
    class Billing {
      @Idempotent()
      async charge(): Promise<void> {}
    }
    const made = way === 'a value' ? { useValue: new Billing() } : { useFactory: () => new Billing() };
    await expect(boot({ providers: [{ provide: 'billing', ...made }] })).rejects.toThrow(
      'Billing.charge is decorated with @Idempotent, but it is no',
    );
  });

  it.each(['store', 'inbox'])(
    'when a factory of options returns the %s, which would live in memory without a word',
    async (name) => {
      const useFactory = () => ({ ...options, [name]: silentMemoryStore() });
      const imports = [IdempotencyModule.forRootAsync({ store: silentMemoryStore(), useFactory })];
      await expect(Test.createTestingModule({ imports }).compile()).rejects.toThrow(
        `'${name}' belongs beside useFactory`,
      );
    },
  );

  it('when @Idempotent stands on a method of a controller that is no route', async () => {
    @Controller()
    class Orders {
      @Idempotent()
      async place(): Promise<void> {}
    }
    await expect(boot({ controllers: [Orders] })).rejects.toThrow(
      'Orders.place is decorated with @Idempotent, but it is no',
    );
  });

  it('when a route handles messages too, which would run each time they come', async () => {
    @Controller('orders')
    class Orders {
      @Post()
      @EventPattern('order')
      @Idempotent()
      async place(@Body() _order: unknown): Promise<void> {}
    }
    await expect(boot({ controllers: [Orders] })).rejects.toThrow(
      'Orders.place is decorated with @Idempotent, but it also handles messages',
    );
  });

  it('when an idempotent route may hand the request on, also where it inherits the method', async () => {
    class Base {
      @Post()
      @Idempotent()
      async place(@Res({ passthrough: true }) _response: unknown, @Next() next: () => void): Promise<void> {
        next();
      }
    }
    @Controller()
    class Orders extends Base {}
    await expect(boot({ controllers: [Orders] })).rejects.toThrow(
      'Orders.place is decorated with @Idempotent, but it may hand the request on',
    );
  });

  it('when Nest renders the answer of an idempotent route', async () => {
    @Controller()
    class Orders {
      @Post()
      @Render('order')
      @Idempotent()
      async place(): Promise<object> {
        return {};
      }
    }
    await expect(boot({ controllers: [Orders] })).rejects.toThrow('gives Nest a template to render');
  });

  it('when an idempotent route sends events', async () => {
    @Controller()
    class Orders {
      @Sse()
      @Idempotent()
      watch(): Observable<MessageEvent> {
        return EMPTY;
      }
    }
    await expect(boot({ controllers: [Orders] })).rejects.toThrow('sends events');
  });

  it('when the module is not imported', async () => {
    @Controller()
    class Orders {
      @Post()
      @Idempotent()
      async place(): Promise<void> {}
    }
    await expect(Test.createTestingModule({ controllers: [Orders] }).compile()).rejects.toThrow('IdempotencyService');
  });

  it('when something is put before the interceptor, because then what is stored is not what is sent', async () => {
    @Module({})
    class Intruder implements NestModule {
      constructor(@Inject(ApplicationConfig) private readonly config: ApplicationConfig) {}
      configure(): void {
        this.config.getGlobalInterceptors().unshift({ intercept: (_context, next) => next.handle() });
      }
    }
    const imports = [IdempotencyModule.forRoot({ ...options, store: silentMemoryStore() }), Intruder];
    const module = await Test.createTestingModule({ imports }).compile();
    const app = module.createNestApplication({ logger: false });
    await expect(app.init()).rejects.toThrow('must be the outermost');
  });

  it.each<[string, Partial<Record<keyof IdempotencyModuleOptions | 'store', unknown>>]>([
    ["Option 'scope' is undefined", { scope: undefined }],
    ["Option 'scope' is 'user'", { scope: 'user' }],
    ["Option 'secret' has 5 bytes", { secret: 'short' }],
    ["Option 'secret' is a number", { secret: 5 }],
    ["Option 'secret' is not set", { secret: undefined }],
    ["Option 'secret' is not set", { secret: '' }],
    ["Option 'key' is 5", { key: 5 }],
    ["Option 'onError' is 'release'", { onError: 'release' }],
    ["Option 'replayHeaders' is 'x'", { replayHeaders: 'x' }],
    ["Option 'store' is null", { store: null }],
    ["Option 'store' is {}", { store: {} }],
    ["Option 'store' is 'redis'", { store: 'redis' }],
    ["Option 'lease' is '10ms'", { lease: '10ms' }],
    ["Option 'lease' is 'soon'", { lease: 'soon' }],
    ["Option 'retention' is '1s'", { retention: '1s' }],
    ["Option 'maxExecution' is '1s'", { maxExecution: '1s' }],
    ["Option 'onLeaseExpiry' is 'never'", { onLeaseExpiry: 'never' }],
    ["Option 'header' is 'two words'", { header: 'two words' }],
    ["Option 'key.min' is 300", { key: { min: 300 } }],
    ["Option 'key.max' is 5000", { key: { max: 5_000 } }],
    ["Option 'key.format' is 'quoted'", { key: { format: 'quoted' } }],
    ["Option 'maxResponseBytes' is 0", { maxResponseBytes: 0 }],
    ["Option 'replayHeaders' is 'Set-Cookie'", { replayHeaders: ['Set-Cookie'] }],
    ["Option 'sweepEvery' is 1", { sweepEvery: 1 }],
  ])('when an option is wrong: %s', async (message, change) => {
    const refusal = boot({}, change);
    await expect(refusal).rejects.toThrow(message);
    await expect(refusal).rejects.toBeInstanceOf(ConfigurationError);
  });

  it('when the store in Redis has no RedisModule, and names what is missing', async () => {
    const refusal = boot({}, { store: redisIdempotencyStore() });
    await expect(refusal).rejects.toThrow('redisIdempotencyStore() needs RedisModule.forRoot(…) among the imports.');
    await expect(refusal).rejects.toBeInstanceOf(ConfigurationError);
  });

  it('when the options are missing altogether', async () => {
    const forRoot = (given: unknown): DynamicModule => IdempotencyModule.forRoot(given as IdempotencyModuleOptions);
    const forRootAsync = (given: unknown): DynamicModule => IdempotencyModule.forRootAsync(given as object);
    for (const given of [undefined, null, 5]) {
      expect(() => forRoot(given)).toThrow(ConfigurationError);
      expect(() => forRootAsync(given)).toThrow(ConfigurationError);
      const imports = [forRootAsync({ store: silentMemoryStore(), useFactory: () => given })];
      await expect(Test.createTestingModule({ imports }).compile()).rejects.toThrow(ConfigurationError);
    }
  });

  it.each<[string, unknown]>([
    ["Option 'required' is 'x'", { required: 'x' }],
    ["Option 'onLeaseExpiry' is 'never'", { onLeaseExpiry: 'never' }],
    ["Option 'options' is 5", 5],
    ["Option 'options' is null", null],
  ])('when an option of a route is wrong: %s', (message, given) => {
    const decorate = (): unknown => Idempotent(given as IdempotentOptions);
    expect(decorate).toThrow(message);
    expect(decorate).toThrow(ConfigurationError);
  });
});

describe('the interceptor', () => {
  it('is outermost whatever was registered before: a global interceptor sees no replay', async () => {
    let seen = 0;
    @Injectable()
    class Envelope implements NestInterceptor {
      intercept(_context: unknown, next: { handle(): Observable<unknown> }): Observable<unknown> {
        seen += 1;
        return next.handle().pipe(map((data) => ({ data })));
      }
    }
    @Controller('orders')
    class Orders {
      @Post()
      @Idempotent()
      async place(): Promise<number> {
        return 1;
      }
      @Get()
      async list(): Promise<number[]> {
        return [];
      }
    }
    const http = await startHttpApp({
      platform: 'express',
      controllers: [Orders],
      providers: [{ provide: APP_INTERCEPTOR, useClass: Envelope }],
      configure: (app: INestApplication) => app.useGlobalInterceptors(new Envelope()),
    });
    const key = 'a-key-of-sufficient-length';
    const answers = [await send(`${http.url}/orders`, { key }), await send(`${http.url}/orders`, { key })];
    expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 2 }, () => '{"data":{"data":1}}'));
    expect(seen).toBe(2);
    await http.close();
  });

  it('refuses to run without a scope: a resolver that returns nothing is an error, not everybody', async () => {
    @Controller('orders')
    class Orders {
      @Post()
      @Idempotent()
      async place(): Promise<void> {}
    }
    const scope: IdempotencyScope = () => '';
    const http = await startHttpApp({ platform: 'express', controllers: [Orders], options: { scope } });
    expect((await send(`${http.url}/orders`, { key: 'a-key-of-sufficient-length' })).status).toBe(500);
    await http.close();
  });
});
