import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { IdempotencyModule, IdempotencyService } from '@lockstep/idempotency';
import { seed } from '@lockstep/testing';
import { Test, type TestingModule } from '@nestjs/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SECRET } from './support/http-app.js';

class Instance {}

/** The same data in objects of a class, with its properties in the opposite order. */
function inInstances(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inInstances);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).reverse();
  return Object.defineProperties(
    new Instance(),
    Object.fromEntries(entries.map(([key, item]) => [key, { value: inInstances(item), enumerable: true }])),
  );
}

describe('a payload', () => {
  let module: TestingModule;
  let service: IdempotencyService;
  beforeAll(async () => {
    module = await Test.createTestingModule({
      imports: [IdempotencyModule.forRoot({ scope: 'global', secret: SECRET })],
    }).compile();
    await module.init();
    service = module.get(IdempotencyService);
  });
  afterAll(() => module.close());

  const first = (payload: unknown) => {
    const operation = { scope: 'test', operation: 'compare', key: randomUUID() };
    return {
      begun: service.run({ ...operation, payload }, async () => 'first'),
      again: (other: unknown) => service.run({ ...operation, payload: other }, async () => 'second'),
    };
  };

  it('is the same whatever the order of its properties and the class of its objects', async () => {
    const property = fc.asyncProperty(fc.jsonValue({ maxDepth: 6 }), async (payload) => {
      const { begun, again } = first(payload);
      await begun;
      expect(await again(inInstances(payload))).toBe('first');
    });
    await fc.assert(property, { seed: seed(), numRuns: 500 });
  });

  it('is another one where anything in it is', async () => {
    const property = fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), async (payload, other) => {
      const { begun, again } = first({ payload });
      await begun;
      const isSame = isDeepStrictEqual(JSON.parse(JSON.stringify(payload)), JSON.parse(JSON.stringify(other)));
      const answer = again({ payload: other });
      if (isSame) expect(await answer).toBe('first');
      else await expect(answer).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
    });
    await fc.assert(property, { seed: seed(), numRuns: 500 });
  });

  it.each([
    ['bytes', Buffer.from('abc'), 'YWJj'],
    ['a bigint', 5n, 5],
    ['a bigint', 5n, '5n'],
  ])('that is %s is another one than its text', async (_, payload, text) => {
    const { begun, again } = first({ payload });
    await begun;
    await expect(again({ payload: text })).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  });

  it.each([
    ['key', { key: 'k\ud800' }],
    ['scope', { scope: 's\udc00' }],
  ])('cannot save a %s that is no well-formed text, which would be that of others', async (_, part) => {
    const operation = { scope: 'test', operation: 'compare', key: randomUUID(), payload: 1, ...part };
    await expect(service.run(operation, async () => 1)).rejects.toMatchObject({
      code: 'IDEMPOTENCY_OPERATION_INVALID',
    });
  });

  it('may be nested deeper than any stack', async () => {
    let deep: unknown = 1;
    for (let level = 0; level < 50_000; level += 1) deep = level % 2 === 0 ? [deep] : { deep };
    const { begun, again } = first(deep);
    await begun;
    expect(await again(deep)).toBe('first');
    await expect(again([deep])).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  });

  it.each([
    ['a function', { pipe: () => 1 }],
    ['a symbol', { kind: Symbol('a') }],
    ['a map', { all: new Map() }],
    ['an object with a tag', { [Symbol.toStringTag]: 'Secret' }],
  ])('that holds %s is refused, because nothing could be told from it', async (_, payload) => {
    const { begun } = first(payload);
    await expect(begun).rejects.toMatchObject({ code: 'IDEMPOTENCY_OPERATION_INVALID' });
  });
});
