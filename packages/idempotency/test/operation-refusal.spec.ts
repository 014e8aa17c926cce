import 'reflect-metadata';
import { Readable } from 'node:stream';
import {
  type ExecutionPolicy,
  IdempotencyModule,
  IdempotencyService,
  type IdempotencyStore,
  MemoryIdempotencyStore,
} from '@lockstep/idempotency';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { SECRET } from './support/http-app.js';

let module: TestingModule | undefined;

async function open(store: IdempotencyStore): Promise<IdempotencyService> {
  const imports = [IdempotencyModule.forRoot({ scope: 'global', secret: SECRET, store: { useFactory: () => store } })];
  module = await Test.createTestingModule({ imports }).compile();
  return module.get(IdempotencyService);
}

afterEach(async () => {
  await module?.close();
  module = undefined;
});

/** What a program without types may pass. */
function operation(change: object): Parameters<IdempotencyService['run']>[0] {
  return { scope: 'test', operation: 'charge', key: 'a-key', payload: 1, ...change };
}

class Order {
  readonly lines = [{ sku: 'apple' }];
  note?: string;
  total(): number {
    return this.lines.length;
  }
}

const REFUSAL = { code: 'IDEMPOTENCY_OPERATION_INVALID', kind: 'misuse' };
const cycle: { self?: unknown } = {};
cycle.self = cycle;

describe('IdempotencyService.run', () => {
  it.each<[string, object]>([
    ['no key', { key: undefined }],
    ['a null key', { key: null }],
    ['an empty key', { key: '' }],
    ['a number as key', { key: 5 }],
    ['a key with NUL', { key: 'a\0b' }],
    ['a key without end', { key: 'x'.repeat(1_025) }],
    ['no scope', { scope: undefined }],
    ['no operation', { operation: '' }],
  ])('refuses %s before the store is asked', async (_what, change) => {
    const store = new MemoryIdempotencyStore();
    const service = await open(store);
    await expect(service.run(operation(change), async () => 1)).rejects.toMatchObject(REFUSAL);
    expect(store.size).toBe(0);
  });

  it.each<[string, ExecutionPolicy]>([
    ['no retention at all', { retentionMs: 0 }],
    ['a retention that is no number', { retentionMs: Number.NaN }],
    ['a retention without end', { retentionMs: Number.POSITIVE_INFINITY }],
    ['a retention in fractions', { retentionMs: 1.5 }],
    ['a wait that is no number', { waitMs: Number.NaN }],
    ['a wait beyond what timers can', { waitMs: 2 ** 31 }],
  ])(
    'refuses %s before the store is asked, because the key would be free or blocked for ever',
    async (_what, policy) => {
      const store = new MemoryIdempotencyStore();
      const service = await open(store);
      const running = service.run(operation({}), async () => 1, policy);
      await expect(running).rejects.toMatchObject({ code: 'CONFIGURATION_INVALID' });
      expect(store.size).toBe(0);
    },
  );

  it.each<[string, unknown]>([
    ['a Map', new Map([['amount', 1]])],
    ['a Set', new Set([1])],
    ['a function', () => 1],
    ['a symbol', Symbol('amount')],
    ['an error', new Error('amount')],
    ['search parameters', new URLSearchParams('amount=1')],
    ['a promise', Promise.resolve(1)],
    ['a stream', new Readable()],
    ['a boxed number', Object(1)],
    ['a value that contains itself', cycle],
  ])('refuses a payload of which nothing would be left to compare, at any depth: %s', async (_what, value) => {
    const service = await open(new MemoryIdempotencyStore());
    for (const payload of [value, { deep: [value] }, { toJSON: () => value }]) {
      await expect(service.run(operation({ payload }), async () => 1)).rejects.toMatchObject(REFUSAL);
    }
  });

  it('takes everything that has data of its own: instances, dates, bytes, big integers, undefined', async () => {
    const service = await open(new MemoryIdempotencyStore());
    const payload = [new Order(), new Date(0), Buffer.from('a'), 1n, undefined, { a: undefined }, Object.create(null)];
    expect(await service.run(operation({ payload }), async () => 1)).toBe(1);
    expect(await service.run(operation({ payload }), async () => 2)).toBe(1);
  });

  it('tells numbers that JSON cannot write from null', async () => {
    const service = await open(new MemoryIdempotencyStore());
    await service.run(operation({ payload: { amount: Number.POSITIVE_INFINITY } }), async () => 1);
    await expect(service.run(operation({ payload: { amount: null } }), async () => 1)).rejects.toMatchObject({
      code: 'IDEMPOTENCY_KEY_REUSED',
    });
  });
});
