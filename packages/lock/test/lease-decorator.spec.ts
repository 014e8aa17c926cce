import 'reflect-metadata';
import { ConfigurationError, CoreModule } from '@lockstep/core';
import { currentLease, DistributedLock, Lease, LockModule, MemoryLockStore } from '@lockstep/lock';
import { freePort } from '@lockstep/testing';
import { Controller, Injectable, type ModuleMetadata, Scope } from '@nestjs/common';
import { ContextIdFactory } from '@nestjs/core';
import {
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { Test, type TestingModule } from '@nestjs/testing';
import { firstValueFrom, lastValueFrom, type Observable, of } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';

const SETTLE = Symbol('settle');
type Seen = readonly [key: string | undefined, isCurrent: boolean, ...rest: unknown[]];

function seen(lease: Lease | undefined, ...rest: unknown[]): Seen {
  return [lease?.key, lease !== undefined && lease === currentLease(), ...rest];
}

@Injectable()
class Stock {
  readonly #shop = 'Malmö';

  @DistributedLock({ key: (sku: string) => `sku:${sku}` })
  async take(sku: string, @Lease() lease?: Lease, note?: string): Promise<Seen> {
    return seen(lease, this.#shop, sku, note);
  }

  @DistributedLock({ key: () => 'settlement' })
  async [SETTLE](@Lease() lease?: Lease): Promise<Seen> {
    return seen(lease);
  }

  @DistributedLock({ key: () => 'outer' })
  @DistributedLock({ key: () => 'inner' })
  async twice(@Lease() lease?: Lease, @Lease() again?: Lease): Promise<Seen> {
    return seen(lease, again === lease);
  }

  @DistributedLock({ key: () => 'watch', returns: 'observable' })
  watch(@Lease() lease?: Lease): Observable<Seen> {
    return of(seen(lease));
  }

  @DistributedLock({ key: () => 'pages' })
  async *pages(@Lease() lease?: Lease): AsyncGenerator<Seen> {
    yield seen(lease);
    yield seen(lease);
  }
}

@Controller()
class Messages {
  @MessagePattern('above')
  @DistributedLock({ key: (_: unknown, sku: string) => sku })
  async above(@Lease() lease: Lease, @Payload() sku: string): Promise<Seen> {
    return seen(lease, sku);
  }

  @DistributedLock({ key: () => 'below' })
  @MessagePattern('below')
  async below(@Lease() lease: Lease): Promise<Seen> {
    return seen(lease);
  }
}

const locks = () => LockModule.forRoot({ wait: 0, store: { useFactory: () => new MemoryLockStore() } });

let app: TestingModule | undefined;
afterEach(async () => {
  await app?.close();
  app = undefined;
});

async function boot(metadata: ModuleMetadata): Promise<TestingModule> {
  app = await Test.createTestingModule({ imports: [locks()], ...metadata }).compile();
  await app.init();
  return app;
}

describe('@Lease()', () => {
  it('is the lease when code calls the method, whatever it passes there', async () => {
    const stock = (await boot({ providers: [Stock] })).get(Stock);
    const mine = { key: 'mine' } as Lease;
    expect(await stock.take('tea', mine, 'note')).toEqual(['sku:tea', true, 'Malmö', 'tea', 'note']);
    expect(await stock.take('tea')).toEqual(['sku:tea', true, 'Malmö', 'tea', undefined]);
    expect(await stock[SETTLE]()).toEqual(['settlement', true]);
    expect(Stock.prototype.take).toHaveLength(3);
  });

  it('is that of the inner one of two locks, wherever it stands', async () => {
    const stock = (await boot({ providers: [Stock] })).get(Stock);
    expect(await stock.twice()).toEqual(['inner', true, true]);
  });

  it('is there for Observables and generators too', async () => {
    const stock = (await boot({ providers: [Stock] })).get(Stock);
    expect(await firstValueFrom(stock.watch())).toEqual(['watch', true]);
    const pages: Seen[] = [];
    for await (const page of stock.pages()) pages.push(page);
    expect(pages).toEqual(Array(2).fill(['pages', true]));
  });

  it('is inherited with the method, and where a method is overridden belongs to each on its own', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Inherits extends Stock {}
    @Injectable()
    class Moves extends Stock {
      @DistributedLock({ key: () => 'moved' })
      override async take(sku: string, note?: unknown, @Lease() lease?: unknown): Promise<Seen> {
        const above = await super.take(sku, undefined, String(note));
        return seen(lease as Lease, note, above);
      }
    }
    const module = await boot({ providers: [Inherits, Moves] });
    const inherits = await module.resolve(Inherits, ContextIdFactory.create());
    expect(await inherits.take('tea')).toEqual(['sku:tea', true, 'Malmö', 'tea', undefined]);
    const inner = ['sku:tea', true, 'Malmö', 'tea', 'n'];
    expect(await module.get(Moves).take('tea', 'n')).toEqual(['moved', true, 'n', inner]);
  });

  it('is given to handlers of RPC messages', async () => {
    const options = { transport: Transport.TCP as const, options: { host: '127.0.0.1', port: await freePort() } };
    const module = await Test.createTestingModule({ imports: [locks()], controllers: [Messages] }).compile();
    const server = module.createNestMicroservice<MicroserviceOptions>({ ...options, logger: false });
    await server.listen();
    const client = ClientProxyFactory.create(options);
    expect(await lastValueFrom(client.send('above', 'tea'))).toEqual(['tea', true, 'tea']);
    expect(await lastValueFrom(client.send('below', {}))).toEqual(['below', true]);
    client.close();
    await server.close();
  });
});

describe('misuse', () => {
  it('of @Lease() on a method without @DistributedLock fails at boot, as does one in an override', async () => {
    @Injectable()
    class Bare {
      async take(@Lease() _lease: Lease): Promise<void> {}
    }
    @Injectable()
    class Overrides extends Stock {
      override async take(_sku: string, @Lease() lease?: Lease): Promise<Seen> {
        return seen(lease);
      }
    }
    for (const type of [Bare, Overrides]) {
      await expect(boot({ controllers: [type] })).rejects.toThrow(
        new ConfigurationError(
          `${type.name}.take has @Lease() but no @DistributedLock; put @DistributedLock on the method.`,
        ),
      );
    }
    await expect(boot({ imports: [CoreModule], providers: [Bare] })).rejects.toThrow(
      '@Lease needs LockModule.forRoot(…)',
    );
  });

  it('of @Lease() on anything but a parameter of a method fails at once', () => {
    const onConstructor = () => {
      class OnConstructor {
        constructor(@Lease() readonly lease: Lease) {}
      }
      return OnConstructor;
    };
    const onStatic = () => {
      class OnStatic {
        static async take(@Lease() _lease: Lease): Promise<void> {}
      }
      return OnStatic;
    };
    const onField = () => Lease()(Stock.prototype, 'field', undefined as never);
    for (const misuse of [onConstructor, onStatic, onField])
      expect(misuse).toThrow(/@Lease\(\) belongs on a parameter of a method of an instance/);
  });

  it('of @DistributedLock on a class, a static method or a parameter fails at once', () => {
    const decorate = DistributedLock({ key: () => 'k' }) as unknown as (...args: unknown[]) => void;
    const refusal = '@DistributedLock belongs on a method of an instance';
    expect(() => decorate(Stock)).toThrow(`${refusal}; class Stock is none.`);
    expect(() => decorate(Stock, 'of', { value: () => undefined })).toThrow(`${refusal}; Stock.of is none.`);
    expect(() => decorate(Stock.prototype, 'take', 0)).toThrow(`${refusal}; Stock.take is none.`);
  });
});
