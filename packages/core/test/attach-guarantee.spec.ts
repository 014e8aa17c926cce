import 'reflect-metadata';
import { inspect } from 'node:util';
import { attachGuarantee, ConfigurationError, CoreModule, guaranteesOf } from '@lockstep/core';
import { withoutGuarantees } from '@lockstep/testing';
import { Controller, Get, Global, Header, Inject, Injectable, Module, Post, Scope, SetMetadata } from '@nestjs/common';
import { ContextIdFactory, LazyModuleLoader, ModuleRef } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';
import { RECORDED, Recorded, Recorder, recorded, recordedUnchecked } from './support/recorded.decorator.js';

const PLACE = Symbol('place');
const OUTER = recorded('idempotency', 'Outer');

class OutOfStock extends Error {}

function onGetter() {
  class OnGetter {
    @recordedUnchecked()
    get total(): number {
      return 1;
    }
  }
  return OnGetter;
}

function onField() {
  class OnField {
    @recordedUnchecked()
    total = 1;
  }
  return OnField;
}

function onStatic() {
  class OnStatic {
    @recordedUnchecked()
    static async total(): Promise<number> {
      return 1;
    }
  }
  return OnStatic;
}

@Global()
@Module({ imports: [CoreModule], providers: [Recorder], exports: [Recorder] })
class RecorderModule {}

@Injectable()
class Orders {
  readonly #secret = 'kept';
  name = 'orders';

  @Recorded({ key: (sku: string, quantity: number) => `${sku}x${quantity}` })
  async place(sku: string, quantity: number): Promise<string> {
    return `${this.name}/${this.#secret}/${sku}/${quantity}`;
  }

  @Recorded()
  async [PLACE](): Promise<string> {
    return this.#secret;
  }

  @Recorded()
  async refuse(error: unknown): Promise<never> {
    throw error;
  }

  @Recorded()
  refuseAtOnce(error: unknown): Promise<never> {
    throw error;
  }
}

function methodOf(type: { prototype: object }, name: string): (...args: unknown[]) => Promise<unknown> {
  return Object.getOwnPropertyDescriptor(type.prototype, name)?.value;
}

async function boot(...providers: NonNullable<Parameters<typeof Test.createTestingModule>[0]['providers']>) {
  const app = await Test.createTestingModule({ imports: [RecorderModule], providers }).compile();
  await app.init();
  return { app, recorder: app.get(Recorder) };
}

describe('the wrapper', () => {
  it('keeps name, length, own properties and this, private fields included', async () => {
    const { app, recorder } = await boot(Orders);
    const orders = app.get(Orders);
    const { name, length } = methodOf(Orders, 'place');
    expect([name, length]).toEqual(['place', 2]);
    expect(await orders.place('sku', 3)).toBe('orders/kept/sku/3');
    expect(recorder.calls).toEqual(['Recorded:Orders.place(skux3)']);
    await app.close();
  });

  it('works on methods that are named by a symbol', async () => {
    const { app, recorder } = await boot(Orders);
    expect(await app.get(Orders)[PLACE]()).toBe('kept');
    expect(recorder.calls).toEqual(['Recorded:Orders.Symbol(place)']);
    await app.close();
  });

  it('passes business errors through by identity, and makes a synchronous throw a rejection', async () => {
    const { app } = await boot(Orders);
    const error = new OutOfStock();
    await expect(app.get(Orders).refuse(error)).rejects.toBe(error);
    const refused = app.get(Orders).refuseAtOnce(error);
    await expect(refused).rejects.toBe(error);
    await app.close();
  });

  it('keeps metadata on whichever side of the other decorators it stands', () => {
    // Swagger and its like append to what they find on the function, and mark the function itself.
    const documented: MethodDecorator = (_target, _property, descriptor) => {
      const fn = descriptor.value as object;
      const before: unknown[] = Reflect.getMetadata('swagger/apiResponse', fn) ?? [];
      Reflect.defineMetadata('swagger/apiResponse', [...before, 'doc'], fn);
      Object.assign(fn, { documented: true });
    };
    @Controller('orders')
    class OrdersController {
      @Get('above')
      @Header('x-a', '1')
      @SetMetadata('role', 'buyer')
      @documented
      @Recorded()
      async above(): Promise<void> {}

      @Recorded()
      @Get('below')
      @Header('x-a', '1')
      @SetMetadata('role', 'buyer')
      @documented
      async below(): Promise<void> {}

      @documented
      @Recorded()
      @documented
      @Post('between')
      async between(): Promise<void> {}
    }
    const [above, below, between] = ['above', 'below', 'between'].map((name) => methodOf(OrdersController, name));
    const facts = (fn: object = {}) => {
      const keys = new Set(Reflect.getMetadataKeys(fn).filter((key) => key !== 'path'));
      return { own: Object.keys(fn), metadata: new Map([...keys].map((key) => [key, Reflect.getMetadata(key, fn)])) };
    };
    expect(facts(below)).toEqual(facts(above));
    expect([...facts(below).metadata.keys()]).toEqual(expect.arrayContaining(['role', 'method', '__headers__']));
    expect(Reflect.getMetadata('path', methodOf(OrdersController, 'below'))).toBe('below');
    expect(Reflect.getMetadata('swagger/apiResponse', between ?? {})).toEqual(['doc', 'doc']);
    expect(Reflect.getMetadata('path', between ?? {})).toBe('between');
    expect(guaranteesOf(below ?? {})).toEqual([RECORDED]);
  });

  it('lets a method be decorated twice: both stand around it, the upper one outside', async () => {
    @Injectable()
    class Twice {
      @Recorded({ key: () => 'upper' })
      @Recorded({ key: () => 'lower' })
      async run(): Promise<string> {
        return 'once';
      }
    }
    const { app, recorder } = await boot(Twice);
    expect(await app.get(Twice).run()).toBe('once');
    expect(recorder.calls).toEqual(['Recorded:Twice.run(upper)', 'Recorded:Twice.run(lower)']);
    await app.close();
  });

  it.each([
    ['a getter', onGetter, 'OnGetter.total'],
    ['a field', onField, 'OnField.total'],
    ['a static method', onStatic, 'OnStatic.total'],
  ])('refuses %s, naming it', (_what, define, name) => {
    expect(define).toThrow(ConfigurationError);
    expect(define).toThrow(`@Recorded belongs on a method of an instance; ${name} is none.`);
    expect(Reflect.getMetadataKeys(Function)).toEqual([]);
  });
});

describe('the instance', () => {
  it('shows nothing of the runtime in keys, JSON, copies or logs', async () => {
    const { app } = await boot(Orders);
    const orders = app.get(Orders);
    expect(Object.keys(orders)).toEqual(['name']);
    expect(JSON.stringify(orders)).toBe('{"name":"orders"}');
    expect(Reflect.ownKeys(Object.assign({}, orders))).toEqual(['name']);
    expect(inspect(orders)).toBe("Orders { name: 'orders' }");
    await app.close();
  });

  it('may be frozen by its constructor or before it is provided', async () => {
    @Injectable()
    class Frozen {
      constructor() {
        Object.freeze(this);
      }
      @Recorded()
      async run(): Promise<boolean> {
        return Object.isFrozen(this);
      }
    }
    const value = new Frozen();
    const { app, recorder } = await boot(Frozen, { provide: 'value', useValue: value });
    expect(await app.get(Frozen).run()).toBe(true);
    expect(await value.run()).toBe(true);
    expect(recorder.calls).toHaveLength(2);
    await app.close();
  });

  it('gets its runtime in default, request and transient scope', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest extends Orders {}
    @Injectable({ scope: Scope.TRANSIENT })
    class Transient extends Orders {}
    @Injectable()
    class User {
      constructor(@Inject(Transient) readonly transient: Transient) {}
    }
    const { app, recorder } = await boot(PerRequest, Transient, User);
    const ids = [ContextIdFactory.create(), ContextIdFactory.create()];
    const [one, two] = await Promise.all(ids.map((id) => app.resolve(PerRequest, id)));
    expect(one).not.toBe(two);
    await Promise.all([one?.[PLACE](), two?.[PLACE](), app.get(User).transient[PLACE]()]);
    expect(recorder.calls).toHaveLength(3);
    await app.close();
  });

  it('finds the runtime of its own application when one process holds two', async () => {
    const [one, two] = [await boot(Orders), await boot(Orders)];
    await one.app.get(Orders)[PLACE]();
    await one.app.get(Orders)[PLACE]();
    await two.app.get(Orders)[PLACE]();
    expect([one.recorder.calls.length, two.recorder.calls.length]).toEqual([2, 1]);
    await one.app.close();
    await two.app.close();
  });

  it('made by new fails at the first call and says what to do', async () => {
    await expect(new Orders().place('sku', 1)).rejects.toThrow(
      /Orders\.place is decorated with @Recorded.*RecorderModule imported.*withoutGuarantees\(\)/,
    );
    const place = methodOf(Orders, 'place');
    await expect(place('sku', 1)).rejects.toThrow(/called without its instance/);
  });

  it('marked withoutGuarantees runs its methods bare, in a unit test and as a value', async () => {
    const marked = withoutGuarantees(new Orders());
    expect(await marked.place('sku', 1)).toBe('orders/kept/sku/1');
    const app = await Test.createTestingModule({
      imports: [CoreModule],
      providers: [{ provide: Orders, useValue: marked }],
    }).compile();
    await app.init();
    expect(await app.get(Orders).place('sku', 2)).toBe('orders/kept/sku/2');
    expect(Object.keys(marked)).toEqual(['name']);
    await app.close();
  });
});

describe('inheritance', () => {
  it('keeps the guarantee of an inherited method, and of an overriding one only where it is decorated', async () => {
    @Injectable()
    class Inherits extends Orders {}
    @Injectable()
    class Bare extends Orders {
      override async place(): Promise<string> {
        return 'bare';
      }
    }
    @Injectable()
    class Decorated extends Orders {
      @Recorded()
      override async place(sku: string, quantity: number): Promise<string> {
        return `more ${await super.place(sku, quantity)}`;
      }
    }
    const { app, recorder } = await boot(Inherits, Bare, Decorated);
    await app.get(Inherits).place('a', 1);
    expect(await app.get(Bare).place()).toBe('bare');
    expect(await app.get(Decorated).place('b', 2)).toBe('more orders/kept/b/2');
    expect(recorder.calls).toEqual([
      'Recorded:Orders.place(ax1)',
      'Recorded:Decorated.place',
      'Recorded:Orders.place(bx2)',
    ]);
    await app.close();
  });

  it('does not lose the runtime to other injected properties of the subclass', async () => {
    @Injectable()
    class Other {}
    @Injectable()
    class Sub extends Orders {
      @Inject(Other) readonly other!: Other;
    }
    const { app, recorder } = await boot(Other, Sub);
    await app.get(Sub)[PLACE]();
    expect(app.get(Sub).other).toBeInstanceOf(Other);
    expect(recorder.calls).toHaveLength(1);
    await app.close();
  });
});

describe('boot', () => {
  it('fails with the message of Nest, which says what to import, when the module is missing', async () => {
    const booting = Test.createTestingModule({ providers: [Orders] }).compile();
    await expect(booting).rejects.toThrow(/can't resolve dependencies of the Orders.*@Recorded needs RecorderModule/s);
  });

  it.each([
    ['a value', { provide: 'orders', useValue: new Orders() }],
    ['a factory', { provide: 'orders', useFactory: () => new Orders() }],
    ['an asynchronous factory', { provide: 'orders', useFactory: async () => new Orders() }],
  ])('gives the runtime to an instance from %s', async (_what, provider) => {
    const { app, recorder } = await boot(provider);
    expect(await app.get<Orders>('orders').place('sku', 1)).toBe('orders/kept/sku/1');
    expect(recorder.calls).toHaveLength(1);
    expect(Object.keys(app.get<Orders>('orders'))).toEqual(['name']);
    await app.close();
  });

  it('fails for such an instance when the module is missing, naming it', async () => {
    const app = await Test.createTestingModule({
      imports: [CoreModule],
      providers: [{ provide: 'orders', useFactory: () => new Orders() }],
    }).compile();
    await expect(app.init()).rejects.toThrow(/Orders\.\S+ is decorated with @Recorded; import RecorderModule/);
  });

  it('has the runtime in place before onModuleInit of the application runs', async () => {
    class Eager extends Orders {
      async onModuleInit() {
        await this.place('early', 1);
      }
    }
    const { app, recorder } = await boot({ provide: 'eager', useFactory: () => new Eager() });
    expect(recorder.calls).toHaveLength(1);
    await app.close();
  });

  it('survives values that cannot be looked into', async () => {
    const hostile = new Proxy(
      {},
      {
        getPrototypeOf() {
          throw new Error('not now');
        },
      },
    );
    const bare = Object.create(Object.assign(Object.create(null), { run() {} }));
    const { app } = await boot(
      { provide: 'hostile', useFactory: () => [hostile][0] },
      { provide: 'bare', useValue: bare },
    );
    await app.close();
  });

  it.each(['lock', 'ordering', 'transaction', 'outbox'] as const)(
    'refuses idempotency inside %s and names the order to write',
    async (layer) => {
      @Injectable()
      class Wrong {
        @Recorded({ guarantee: recorded(layer, 'Inner') })
        @Recorded({ guarantee: OUTER })
        async run(): Promise<void> {}
      }
      const app = await Test.createTestingModule({ imports: [RecorderModule], providers: [Wrong] }).compile();
      await expect(app.init()).rejects.toThrow('Wrong.run: @Outer stands inside @Inner, where it protects nothing');
    },
  );

  it.each(['transactional-idempotency', 'transaction', 'outbox'] as const)(
    'refuses a transactional message inside %s, where what is prepared would roll back with the work',
    async (layer) => {
      @Injectable()
      class Wrong {
        @Recorded({ guarantee: recorded(layer, 'Inner') })
        @Recorded({ guarantee: recorded('transactional-message', 'Half') })
        async run(): Promise<void> {}
      }
      const app = await Test.createTestingModule({ imports: [RecorderModule], providers: [Wrong] }).compile();
      await expect(app.init()).rejects.toThrow('Wrong.run: @Half stands inside @Inner, where it protects nothing');
    },
  );

  it('accepts idempotency outside lock outside ordering outside transaction outside outbox, and runs it so', async () => {
    @Injectable()
    class Right {
      @Recorded({ guarantee: recorded('idempotency', '1') })
      @Recorded({ guarantee: recorded('lock', '2') })
      @Recorded({ guarantee: recorded('ordering', '3') })
      @Recorded({ guarantee: recorded('transaction', '4') })
      @Recorded({ guarantee: recorded('outbox', '5') })
      async run(): Promise<void> {}
    }
    const { app, recorder } = await boot(Right);
    await app.get(Right).run();
    expect(recorder.calls.map((call) => call[0])).toEqual(['1', '2', '3', '4', '5']);
    await app.close();
  });

  it('wants lock and ordering outside of idempotency in one transaction, and transaction and outbox inside', async () => {
    const transactional = recorded('transactional-idempotency', 'Once');
    @Injectable()
    class Right {
      @Recorded({ guarantee: recorded('lock', '1') })
      @Recorded({ guarantee: recorded('ordering', '2') })
      @Recorded({ guarantee: transactional })
      @Recorded({ guarantee: recorded('transaction', '4') })
      @Recorded({ guarantee: recorded('outbox', '5') })
      async run(): Promise<void> {}
    }
    const { app } = await boot(Right);
    await app.close();
    const pairs = [
      [transactional, recorded('lock', 'Lock')],
      [transactional, recorded('ordering', 'Ordered')],
      [recorded('transaction', 'Transactional'), transactional],
      [recorded('outbox', 'Outbox'), transactional],
    ] as const;
    for (const [outer, inner] of pairs) {
      @Injectable()
      class Wrong {
        @Recorded({ guarantee: outer })
        @Recorded({ guarantee: inner })
        async run(): Promise<void> {}
      }
      await expect(boot(Wrong)).rejects.toThrow(`Wrong.run: @${inner.name} stands inside @${outer.name}`);
    }
  });

  it('checks the order of inherited methods, of controllers and of factories too', async () => {
    class Base {
      @Recorded({ guarantee: recorded('outbox', 'Inner') })
      @Recorded()
      async run(): Promise<void> {}
    }
    @Controller()
    class Sub extends Base {}
    const asController = await Test.createTestingModule({ imports: [RecorderModule], controllers: [Sub] }).compile();
    await expect(asController.init()).rejects.toThrow(ConfigurationError);
    const asValue = await Test.createTestingModule({
      imports: [RecorderModule],
      providers: [{ provide: 'x', useFactory: () => new Base() }],
    }).compile();
    await expect(asValue.init()).rejects.toThrow(ConfigurationError);
  });

  it('reaches the classes of a module that is loaded lazily', async () => {
    @Module({ providers: [Orders], exports: [Orders] })
    class LazyModule {}
    const { app, recorder } = await boot();
    const lazy: ModuleRef = await app.get(LazyModuleLoader, { strict: false }).load(() => LazyModule);
    await lazy.get(Orders).place('sku', 1);
    expect(recorder.calls).toHaveLength(1);
    await app.close();
  });
});

it('needs nothing of a class but its prototype, so a guarantee may be attached by hand', async () => {
  class Plain {
    async run(): Promise<number> {
      return 1;
    }
  }
  const descriptor = Object.getOwnPropertyDescriptor(Plain.prototype, 'run') as PropertyDescriptor;
  attachGuarantee(Plain.prototype, 'run', descriptor, RECORDED, async (_runtime, { proceed }) => proceed());
  Object.defineProperty(Plain.prototype, 'run', descriptor);
  const { app } = await boot(Plain);
  expect(await app.get(Plain).run()).toBe(1);
  await app.close();
});
