import 'reflect-metadata';
import { type DriverProvider, StoreUnavailableError } from '@lockstep/core';
import {
  currentIdempotency,
  type IdempotencyStore,
  Idempotent,
  MemoryIdempotencyStore,
  NotApplied,
  OutcomeUnknown,
  principalScope,
} from '@lockstep/idempotency';
import { eventually, withoutGuarantees } from '@lockstep/testing';
import { Body, ConflictException, Controller, Injectable, NotFoundException, Post, Res, Scope } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { of } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { startHttpApp } from './support/http-app.js';
import { as, type MethodApp, startMethodApp } from './support/method-app.js';

interface Order {
  readonly id: string;
  readonly sku: string;
}

let runs = 0;
let work: () => Promise<unknown> = async () => undefined;
beforeEach(() => {
  runs = 0;
  work = async () => undefined;
});

@Injectable()
class Orders {
  @Idempotent({ key: (order: Order) => order.id, scope: 'global' })
  async place(order: Order): Promise<unknown> {
    runs += 1;
    return (await work()) ?? { bought: order.sku, run: runs };
  }

  @Idempotent({ key: (order: Order) => order.id, scope: 'global' })
  async noted(_order: Order, _note?: string, _signal?: AbortSignal): Promise<number> {
    runs += 1;
    return runs;
  }

  @Idempotent({ key: (id: string) => id })
  async own(_id: string): Promise<number> {
    runs += 1;
    return runs;
  }

  @Idempotent({ key: (id: string) => id, scope: (_id: string, user: string) => user })
  async forUser(_id: string, user: string): Promise<string> {
    runs += 1;
    return `${user} ${runs}`;
  }

  @Idempotent({ key: (id: string) => id, scope: 'global', payload: (_id: string, amount: number) => amount })
  async charge(_id: string, _amount: number, at: Map<string, string>): Promise<string> {
    runs += 1;
    return `charged ${at.size}`;
  }

  @Idempotent({ key: (id: string) => id, scope: 'global' })
  async unplain(_id: string, at: Map<string, string>): Promise<number> {
    return at.size;
  }

  @Idempotent({
    key: (id: string) => id,
    scope: 'global',
    codec: {
      encode: (due: Date | undefined) => due?.toISOString() ?? '',
      decode: (text) => (text === '' ? undefined : new Date(text)),
    },
  })
  async due(_id: string): Promise<Date | undefined> {
    runs += 1;
    return (await work()) as Date | undefined;
  }

  @Idempotent({ key: (id: string) => id, scope: 'global' })
  async nothing(_id: string): Promise<void> {
    runs += 1;
  }

  @Idempotent({ key: (id: string) => id, scope: 'global' })
  async outer(id: string): Promise<unknown> {
    const before = currentIdempotency()?.id;
    const inner = await this.inner(id);
    return { before, inner, after: currentIdempotency()?.id };
  }

  @Idempotent({ key: (id: string) => id, scope: 'global' })
  async inner(_id: string): Promise<string | undefined> {
    runs += 1;
    return currentIdempotency()?.id;
  }
}

const order = { id: 'order-1', sku: 'book' };

async function started(metadata = { providers: [Orders] }): Promise<MethodApp & { orders: Orders }> {
  const method = await startMethodApp(metadata);
  return { ...method, orders: method.app.get(Orders) };
}

describe('a method with a key', () => {
  it('runs once, and every repetition gets its first result', async () => {
    const { orders } = await started();
    expect(currentIdempotency()).toBeUndefined();
    const answers = [await orders.place(order), await orders.place({ ...order }), await orders.place(order)];
    expect(answers).toEqual(answers.map(() => ({ bought: 'book', run: 1 })));
    expect(await orders.place({ id: 'order-2', sku: 'pen' })).toEqual({ bought: 'pen', run: 2 });
  });

  it('refuses the same key with other arguments', async () => {
    const { orders } = await started();
    await orders.place(order);
    await expect(orders.place({ ...order, sku: 'pen' })).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
    expect(runs).toBe(1);
  });

  it('lets one of many concurrent calls run and refuses the others', async () => {
    const { orders } = await started();
    let open = (): void => undefined;
    work = () =>
      new Promise((resolve) => {
        open = () => resolve('done');
      });
    const first = orders.place(order);
    await eventually(() => expect(runs).toBe(1));
    await expect(orders.place(order)).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS', retryable: true });
    open();
    expect([await first, await orders.place(order), runs]).toEqual(['done', 'done', 1]);
  });

  it('returns nothing twice where it returns nothing', async () => {
    const { orders } = await started();
    expect([await orders.nothing('a'), await orders.nothing('a'), runs]).toEqual([undefined, undefined, 1]);
  });

  it('gives a repetition what its codec makes of the first result', async () => {
    const { orders } = await started();
    work = async () => new Date(5);
    expect([await orders.due('a'), await orders.due('a'), runs]).toEqual([new Date(5), new Date(5), 1]);
    work = async () => undefined;
    expect([await orders.due('b'), await orders.due('b'), runs]).toEqual([undefined, undefined, 2]);
  });

  it('refuses repetitions of a result that its codec could not store, instead of running again', async () => {
    const { orders, incidents } = await started();
    work = async () => new Date(Number.NaN);
    await orders.due('a');
    await expect(orders.due('a')).rejects.toMatchObject({ code: 'OPERATION_RESULT_UNAVAILABLE' });
    expect([runs, incidents.map(({ code }) => code)]).toEqual([1, ['RESULT_NOT_STORABLE']]);
  });

  it('is an operation of its own inside of another one', async () => {
    const { orders } = await started();
    const first = (await orders.outer('a')) as { before: string; inner: string; after: string };
    expect(first.before).toBe(first.after);
    expect(first.inner).not.toBe(first.before);
    expect(await orders.inner('a')).toBe(first.inner);
    expect(runs).toBe(1);
  });
});

describe('the scope of a method with a key', () => {
  it('is the principal: two users, or tenants, do not share a key', async () => {
    const { orders } = await started();
    const calls = [
      as('ann', () => orders.own('k')),
      as('bob', () => orders.own('k')),
      as('ann', () => orders.own('k'), 'shop'),
    ];
    expect((await Promise.all(calls)).toSorted()).toEqual([1, 2, 3]);
    expect(await as('ann', () => orders.own('k'))).toBe(1);
  });

  it('is never everybody by accident: without a principal the method does not run', async () => {
    const { orders } = await started();
    await expect(orders.own('k')).rejects.toThrow(
      'Orders.own is decorated with @Idempotent, but nobody knows whose key',
    );
    expect(runs).toBe(0);
  });

  it.each([undefined, null, 0, ''])('is never everybody whose principal has no id, but %j', async (id) => {
    const { orders } = await started();
    await expect(as(id as string, () => orders.own('k'))).rejects.toThrow('nobody knows whose key');
    await expect(as(id as string, async () => principalScope()())).rejects.toThrow('this request has none with an id');
    expect(runs).toBe(0);
  });

  it('may be taken from the arguments, and must then be text', async () => {
    const { orders } = await started();
    expect([await orders.forUser('k', 'ann'), await orders.forUser('k', 'bob')]).toEqual(['ann 1', 'bob 2']);
    expect(await orders.forUser('k', 'ann')).toBe('ann 1');
    await expect(orders.forUser('k', '')).rejects.toMatchObject({ code: 'CONFIGURATION_INVALID' });
    await expect(orders.forUser('k', undefined as unknown as string)).rejects.toThrow('@Idempotent scope of Orders');
    expect(runs).toBe(2);
  });
});

describe('the key and the payload of a method', () => {
  it.each([undefined, '', 5, 'a\nb', 'x'.repeat(1_025)])('refuse the call where the key is %j', async (id) => {
    const { orders } = await started();
    await expect(orders.place({ id: id as string, sku: 'book' })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_OPERATION_INVALID',
    });
    expect(runs).toBe(0);
  });

  it('are told apart from what cannot be compared: the error says what to do', async () => {
    const { orders } = await started();
    await expect(orders.unplain('k', new Map())).rejects.toThrow('give the @Idempotent of Orders.unplain a payload');
  });

  it('count an argument that is left out as undefined, and no signal that only this call has', async () => {
    const { orders } = await started();
    const bare = { id: 'order-9', sku: 'book' };
    expect(await orders.noted(bare)).toBe(1);
    expect(await orders.noted(bare, undefined, AbortSignal.abort())).toBe(1);
    expect(await orders.noted(bare, undefined, new AbortController().signal)).toBe(1);
    await expect(orders.noted(bare, 'gift')).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
    expect(runs).toBe(1);
  });

  it('compare what `payload` says, and nothing else', async () => {
    const { orders } = await started();
    await orders.charge('k', 5, new Map());
    expect(await orders.charge('k', 5, new Map([['a', 'b']]))).toBe('charged 0');
    await expect(orders.charge('k', 6, new Map())).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  });
});

describe('an error of a method with a key', () => {
  it('is the answer for good where it is a final HttpException', async () => {
    const { orders } = await started();
    work = () => Promise.reject(new NotFoundException('no such book'));
    await expect(orders.place(order)).rejects.toThrow('no such book');
    const repeated = (await orders.place(order).catch((error: unknown) => error)) as NotFoundException;
    expect(repeated).toBeInstanceOf(NotFoundException);
    expect(repeated.getResponse()).toEqual(new NotFoundException('no such book').getResponse());
    expect(runs).toBe(1);
  });

  it.each([
    ['NotApplied', () => new NotApplied(new Error('cause'))],
    ['an HttpException that says "not now"', () => new ConflictException('cause')],
  ])('frees the key where it is %s', async (_name, thrown) => {
    const { orders } = await started();
    work = () => Promise.reject(thrown());
    await expect(orders.place(order)).rejects.toThrow('cause');
    work = async () => 'done';
    expect([await orders.place(order), runs]).toEqual(['done', 2]);
  });

  it.each([
    ['OutcomeUnknown', () => new OutcomeUnknown(new Error('cause'))],
    ['anything else', () => new Error('cause')],
  ])('makes the outcome uncertain where it is %s', async (_name, thrown) => {
    const { orders } = await started();
    work = () => Promise.reject(thrown());
    await expect(orders.place(order)).rejects.toThrow('cause');
    await expect(orders.place(order)).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN', retryable: false });
    expect(runs).toBe(1);
  });

  it('is judged by onError first', async () => {
    const verdicts = { release: 'free', uncertain: 'uncertain', store: 'answered' } as const;
    for (const [verdict, then] of Object.entries(verdicts)) {
      const { app } = await startMethodApp(
        { providers: [Orders] },
        { onError: () => verdict as keyof typeof verdicts },
      );
      const orders = app.get(Orders);
      work = () => Promise.reject(new ConflictException('cause'));
      await orders.place(order).catch(() => undefined);
      work = async () => 'free';
      const next = await orders.place(order).catch((error: { code?: string }) => error.code ?? 'answered');
      expect(next).toBe(then === 'uncertain' ? 'OPERATION_UNCERTAIN' : then);
    }
  });
});

describe('what a method says for itself', () => {
  @Injectable()
  class Deviating {
    @Idempotent({ key: (id: string) => id, scope: 'global', onConcurrent: { wait: '10s' } })
    async patient(_id: string): Promise<unknown> {
      runs += 1;
      return work();
    }

    @Idempotent({ key: (id: string) => id, scope: 'global', onError: () => 'release' })
    async released(_id: string): Promise<unknown> {
      runs += 1;
      return work();
    }

    @Idempotent({ key: (id: string) => id, scope: 'global', onLeaseExpiry: 'retry' })
    async retried(_id: string): Promise<unknown> {
      runs += 1;
      return work();
    }
  }

  it('holds instead of the options of the module: waiting, what an error means, what a lost lease means', async () => {
    const deviating = (await startMethodApp({ providers: [Deviating] })).app.get(Deviating);
    let open = (): void => undefined;
    work = () =>
      new Promise((resolve) => {
        open = () => resolve('done');
      });
    const first = deviating.patient('a');
    await eventually(() => expect(runs).toBe(1));
    const second = deviating.patient('a');
    open();
    expect([await first, await second, runs]).toEqual(['done', 'done', 1]);

    work = () => Promise.reject(new Error('no answer'));
    await expect(deviating.released('b')).rejects.toThrow('no answer');
    await expect(deviating.retried('b')).rejects.toThrow('no answer');
    work = async () => 'done';
    expect([await deviating.released('b'), await deviating.retried('b'), runs]).toEqual(['done', 'done', 5]);
  });
});

describe('a route with a key', () => {
  @Controller('orders')
  class OrderRoutes {
    @Post()
    @Idempotent({ key: (order: Order) => order.id, scope: 'global' })
    async place(@Body() order: Order): Promise<{ bought: string; run: number }> {
      runs += 1;
      if (order.sku === 'none') throw new NotFoundException('no such book');
      return { bought: order.sku, run: runs };
    }
  }

  it('takes it from the body: repetitions get the first result, or the first refusal, without any header', async () => {
    const http = await startHttpApp({ platform: 'express', controllers: [OrderRoutes] });
    const post = async (body: Order): Promise<unknown> => {
      const headers = { 'content-type': 'application/json' };
      const answer = await fetch(`${http.url}/orders`, { method: 'POST', body: JSON.stringify(body), headers });
      return [answer.status, await answer.json()];
    };
    expect([await post(order), await post(order)]).toEqual(Array(2).fill([201, { bought: 'book', run: 1 }]));
    expect(await post({ ...order, sku: 'pen' })).toMatchObject([422, { code: 'IDEMPOTENCY_KEY_REUSED' }]);
    const missing = { id: 'order-2', sku: 'none' };
    expect(await post(missing)).toMatchObject([404, { message: 'no such book' }]);
    expect(await post(missing)).toMatchObject([404, { message: 'no such book' }]);
    expect(runs).toBe(2);
    await http.close();
  });

  it('must answer by its result: the application does not start where it does so by @Res()', async () => {
    @Controller()
    class Answering {
      @Post()
      @Idempotent({ key: () => 'a', scope: 'global' })
      async place(@Res() response: { send(body: string): void }): Promise<void> {
        response.send('done');
      }
    }
    const starting = startHttpApp({ platform: 'express', controllers: [Answering] });
    await expect(starting).rejects.toThrow('Answering.place is decorated with @Idempotent, but it answers by @Res()');
  });
});

describe('a store that is down', () => {
  class Bypassing {
    @Idempotent({ key: (id: string) => id, scope: 'global', onStoreDown: 'bypass' })
    async place(_id: string): Promise<number> {
      runs += 1;
      return runs;
    }
  }

  function downStore(): DriverProvider<IdempotencyStore> {
    const store = new MemoryIdempotencyStore();
    store.begin = () =>
      Promise.reject(new StoreUnavailableError({ store: 'redis', operation: 'begin', outcome: 'not-applied' }));
    return { useFactory: () => store };
  }

  it('keeps the method from running, unless it said that it may run without any guarantee', async () => {
    const { app, incidents } = await startMethodApp({ providers: [Orders, Bypassing] }, { store: downStore() });
    await expect(app.get(Orders).place(order)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(runs).toBe(0);
    expect([await app.get(Bypassing).place('a'), await app.get(Bypassing).place('a')]).toEqual([1, 2]);
    expect(incidents.filter(({ code }) => code === 'IDEMPOTENCY_BYPASSED')).toHaveLength(2);
  });
});

describe('wherever the instance comes from', () => {
  it('the method keeps its promise: in request scope, from a factory, as a value', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Scoped extends Orders {}
    class Made extends Orders {}
    class Given extends Orders {}
    const providers = [
      Scoped,
      { provide: Made, useFactory: () => new Made() },
      { provide: Given, useValue: new Given() },
    ];
    const { app } = await startMethodApp({ providers });
    for (const orders of [() => app.resolve(Scoped), async () => app.get(Made), async () => app.get(Given)]) {
      runs = 0;
      expect(await (await orders()).place(order)).toEqual(await (await orders()).place(order));
      expect(runs).toBe(1);
    }
  });

  it('subclasses that inherit the method do not share its keys, and super is a call of its own', async () => {
    class Paypal extends Orders {}
    class Stripe extends Orders {
      @Idempotent({ key: (given: Order) => given.id, scope: 'global' })
      override async place(given: Order): Promise<unknown> {
        return { stripe: await super.place(given) };
      }
    }
    const { app } = await startMethodApp({ providers: [Paypal, Stripe] });
    expect(await app.get(Paypal).place(order)).toEqual({ bought: 'book', run: 1 });
    const first = await app.get(Stripe).place(order);
    expect(first).toEqual({ stripe: { bought: 'book', run: 2 } });
    expect([await app.get(Stripe).place(order), runs]).toEqual([first, 2]);
  });

  it('a bare instance refuses to run, unless a unit test has marked it', async () => {
    await expect(new Orders().place(order)).rejects.toThrow('withoutGuarantees()');
    const marked = withoutGuarantees(new Orders());
    await marked.place(order);
    await marked.place(order);
    expect(runs).toBe(2);
  });
});

describe('an application does not start', () => {
  it('where two classes have one operation, because they would answer for each other', async () => {
    const twin = (): typeof Orders => class Orders {} as typeof Orders;
    const [First, Second] = [twin(), twin()];
    for (const type of [First, Second]) {
      const descriptor = { value: async () => 1, configurable: true, writable: true };
      Idempotent({ key: () => 'a' })(type.prototype, 'place', descriptor);
      Object.defineProperty(type.prototype, 'place', descriptor);
    }
    await expect(startMethodApp({ providers: [First, Second] })).rejects.toThrow("have the operation 'Orders.place'");
    await expect(startMethodApp({ providers: [First] })).resolves.toBeDefined();
  });

  it('where a subclass inherits an operation that was named, beside its base', async () => {
    class Named {
      @Idempotent({ key: () => 'a', operation: 'orders.place' })
      async place(): Promise<void> {}
    }
    class Sub extends Named {}
    await expect(startMethodApp({ providers: [Named, Sub] })).rejects.toThrow("have the operation 'orders.place'");
    await expect(startMethodApp({ providers: [Sub, { provide: 'again', useExisting: Sub }] })).resolves.toBeDefined();
  });

  it('where the module is not imported', async () => {
    await expect(Test.createTestingModule({ providers: [Orders] }).compile()).rejects.toThrow('IdempotencyModule');
  });

  it('where @Idempotent without a key stands on a provider of an application without HTTP', async () => {
    class Worker {
      @Idempotent()
      async process(): Promise<void> {}
    }
    await expect(startMethodApp({ providers: [Worker] })).rejects.toThrow('@Idempotent({ key })');
  });

  it.each<[string, object]>([
    ["'@Idempotent key' is undefined", { key: undefined }],
    ["'@Idempotent key' is 'id'", { key: 'id' }],
    ["'@Idempotent scope' is 'user'", { key: () => 'a', scope: 'user' }],
    ["'@Idempotent payload' is 5", { key: () => 'a', payload: 5 }],
    ["'@Idempotent codec' is null", { key: () => 'a', codec: null }],
    ["'@Idempotent operation' is ''", { key: () => 'a', operation: '' }],
    ["'onStoreDown' is 'x'", { key: () => 'a', onStoreDown: 'x' }],
    ["'mode' is 'x'", { key: () => 'a', mode: 'x' }],
  ])('with a wrong option: %s', (message, options) => {
    expect(() => Idempotent(options as { key: () => string })).toThrow(message);
  });
});

describe('a stream', () => {
  it('is refused where the class is made, if that can be known, else by the first call', async () => {
    const decorate = (value: unknown): unknown =>
      Idempotent({ key: () => 'a', scope: 'global' })(class {}.prototype, 'run', { value } as TypedPropertyDescriptor<
        () => Promise<void>
      >);
    expect(() => decorate(async function* run() {})).toThrow('it gives a stream');
    expect(() => decorate(function* run() {})).toThrow('it gives a stream');

    class Streaming {
      @Idempotent({ key: () => 'a', scope: 'global' })
      async run(): Promise<unknown> {
        return of(1);
      }
    }
    const { app } = await startMethodApp({ providers: [Streaming] });
    await expect(app.get(Streaming).run()).rejects.toThrow('gave a stream, which cannot be told again');
  });
});
