import 'reflect-metadata';
import { attachGuarantee, ConfigurationError, type DriverProvider, type GuaranteeLayer } from '@lockstep/core';
import {
  type IdempotencyStore,
  Idempotent,
  type IdempotentOptions,
  MemoryIdempotencyStore,
  type TransactionalStore,
} from '@lockstep/idempotency';
import { Controller, Injectable, Next, Post, Res, StreamableFile, type Type } from '@nestjs/common';
import { EMPTY, Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { silentMemoryStore, startHttpApp } from './support/http-app.js';

/** Has the ability by its looks; nothing here comes so far as to use it. */
class AbleStore extends MemoryIdempotencyStore implements TransactionalStore {
  transact(): Promise<never> {
    return Promise.reject(new Error('nothing runs in these tests'));
  }
}
const able: DriverProvider<IdempotencyStore> = { useFactory: () => new AbleStore() };
const TRANSACTIONAL: IdempotentOptions = { mode: 'transactional' };

@Injectable()
class Nothing {}

/** Any guarantee of a layer; it keeps no promise. */
function Guard(layer: GuaranteeLayer, name: string): MethodDecorator {
  const guarantee = { name, layer, runtime: Nothing, module: 'NothingModule' };
  return (target, property, descriptor) =>
    attachGuarantee(target, property, descriptor, guarantee, (_runtime, call) => call.proceed());
}

async function boot(controller: Type, store = able): Promise<void> {
  const http = await startHttpApp({ platform: 'express', controllers: [controller], providers: [Nothing], store });
  await http.close();
}

describe('an application with a route in one transaction does not start', () => {
  it('when the store cannot', async () => {
    @Controller()
    class Orders {
      @Post()
      @Idempotent(TRANSACTIONAL)
      async place(): Promise<void> {}
    }
    const refusal = boot(Orders, silentMemoryStore());
    await expect(refusal).rejects.toThrow(
      "Orders.place is decorated with @Idempotent, but it has the mode 'transactional', which the store",
    );
    await expect(refusal).rejects.toBeInstanceOf(ConfigurationError);
    await boot(Orders);
  });

  it('when the route answers by itself', async () => {
    @Controller()
    class ByResponse {
      @Post()
      @Idempotent(TRANSACTIONAL)
      async place(@Res() response: { send(body: string): void }): Promise<void> {
        response.send('done');
      }
    }
    @Controller()
    class ByNext {
      @Post()
      @Idempotent(TRANSACTIONAL)
      async place(@Next() next: () => void): Promise<void> {
        next();
      }
    }
    await expect(boot(ByResponse)).rejects.toThrow('answers by @Res() itself, before the commit');
    await expect(boot(ByNext)).rejects.toThrow('may hand the request on by @Next()');
  });

  it('when the route may be called without the guarantee while the store is down', async () => {
    @Controller()
    class Orders {
      @Post()
      @Idempotent({ ...TRANSACTIONAL, onStoreDown: 'bypass' })
      async place(): Promise<void> {}
    }
    await expect(boot(Orders)).rejects.toThrow("onStoreDown 'bypass'");
  });

  it('when the route is known to return a stream', async () => {
    class Report extends StreamableFile {}
    @Controller()
    class Files {
      @Post()
      @Idempotent(TRANSACTIONAL)
      watch(): Observable<never> {
        return EMPTY;
      }
    }
    @Controller()
    class Pages {
      @Post()
      // As a compiler that unwraps promises, or a hand, would write it down.
      @Reflect.metadata('design:returntype', Report)
      @Idempotent(TRANSACTIONAL)
      async page(): Promise<Report> {
        return new Report(Buffer.from(''));
      }
    }
    @Controller()
    class Lines {
      async *lines(): AsyncGenerator<string> {}
    }
    const lines = Object.getOwnPropertyDescriptor(Lines.prototype, 'lines') as TypedPropertyDescriptor<never>;
    Idempotent(TRANSACTIONAL)(Lines.prototype, 'lines', lines);
    Object.defineProperty(Lines.prototype, 'lines', lines);
    Post()(Lines.prototype, 'lines', lines);
    for (const controller of [Files, Pages, Lines]) await expect(boot(controller)).rejects.toThrow('returns a stream');
  });

  it.each<[string, MethodDecorator[]]>([
    ['above', [Guard('lock', 'DistributedLock'), Idempotent(TRANSACTIONAL) as MethodDecorator]],
    ['below', [Idempotent(TRANSACTIONAL) as MethodDecorator, Guard('lock', 'DistributedLock')]],
  ])('when a lock stands %s @Idempotent on the handler: it would end before the commit', async (_where, decorators) => {
    class Orders {
      async place(): Promise<void> {}
    }
    const descriptor = Object.getOwnPropertyDescriptor(Orders.prototype, 'place') as PropertyDescriptor;
    for (const decorate of decorators.toReversed()) decorate(Orders.prototype, 'place', descriptor);
    Object.defineProperty(Orders.prototype, 'place', descriptor);
    Post()(Orders.prototype, 'place', descriptor);
    Controller()(Orders);
    await expect(boot(Orders)).rejects.toThrow('@DistributedLock');
    await expect(boot(Orders)).rejects.toThrow(ConfigurationError);
  });

  it.each<[string, IdempotentOptions]>([
    ["Option 'isolation' is 'snapshot'", { mode: 'transactional', isolation: 'snapshot' as 'serializable' }],
    ["Option 'isolation' is 'serializable'", { isolation: 'serializable' }],
  ])('when its options are wrong: %s', (message, options) => {
    expect(() => Idempotent(options)).toThrow(message);
  });
});

describe('an application with a route in one transaction starts', () => {
  it('when transaction and outbox stand inside', async () => {
    @Controller()
    class Orders {
      @Post()
      @Idempotent(TRANSACTIONAL)
      @Guard('transaction', 'Transactional')
      @Guard('outbox', 'Outbox')
      async place(): Promise<void> {}
    }
    await boot(Orders);
  });
});
