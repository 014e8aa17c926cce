import { randomUUID } from 'node:crypto';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mall, type MallAnswer } from '../support/mall.js';
import { useOwnRedis } from '../support/own-redis.js';

const postgres = usePostgres();
const redis = useOwnRedis();

describe.each([
  ['on Redis and Postgres', true],
  ['on Postgres alone', false],
])('the order form of the mall %s', (_, withRedis) => {
  let mall: Mall;

  beforeAll(async () => {
    mall = await Mall.open({ databaseUrl: postgres.url, ...(withRedis ? { redisUrl: redis.url } : {}) });
  }, 60_000);

  afterAll(async () => {
    await mall?.close();
    expect(mall?.child.unhandledRejections).toEqual([]);
  });

  const filled = async (buyer: string, sku: string, qty = 1): Promise<Record<string, unknown>> => {
    const page = await mall.confirm(buyer, sku, qty);
    expect(page.status).toBe(200);
    expect(page.headers.get('cache-control')).toBe('no-store');
    expect(page.body).toMatchObject({ sku, qty, totalCents: 900 * qty });
    return { sku, qty, orderToken: page.body.orderToken };
  };
  const codes = (answers: readonly MallAnswer[]): unknown[] => answers.map(({ status, body }) => body.code ?? status);

  it('places one order for a double click, and answers a third click after a lost response as the first', async () => {
    const [sku, buyer] = [await mall.shelve(5), `ann-${randomUUID()}`];
    const form = await filled(buyer, sku);
    const clicks = await Promise.all([1, 2, 3, 4].map(() => mall.submit(buyer, form)));
    const again = await mall.submit(buyer, form);

    const placed = clicks.filter(({ status }) => status === 201);
    expect(placed.length).toBeGreaterThanOrEqual(1);
    expect(codes(clicks).every((code) => code === 201 || code === 'OPERATION_IN_PROGRESS')).toBe(true);
    expect(again.status).toBe(201);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.body).toEqual(placed[0]?.body);
    expect(await mall.orders(buyer)).toHaveLength(1);
    expect(await mall.piecesLeft(sku)).toBe(4);
  });

  it('takes both orders of two tabs', async () => {
    const [sku, buyer] = [await mall.shelve(5), `ann-${randomUUID()}`];
    const tabs = [await filled(buyer, sku), await filled(buyer, sku)];
    const answers = await Promise.all(tabs.map((form) => mall.submit(buyer, form)));
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(await mall.orders(buyer)).toHaveLength(2);
  });

  it('can be sent again after it was sold out, once there are pieces again', async () => {
    const [sku, buyer] = [await mall.shelve(1), `ann-${randomUUID()}`];
    const [form, last] = [await filled(buyer, sku), await filled(buyer, sku)];
    expect((await mall.submit(buyer, last)).status).toBe(201);
    expect(codes([await mall.submit(buyer, form)])).toEqual(['SOLD_OUT']);
    await mall.restock(sku, 1);
    expect((await mall.submit(buyer, form)).status).toBe(201);
    expect(await mall.piecesLeft(sku)).toBe(0);
  });

  it('can be mended after it was refused before it did anything', async () => {
    const [sku, buyer] = [await mall.shelve(1), `ann-${randomUUID()}`];
    const form = await filled(buyer, sku);
    expect((await mall.submit(buyer, { ...form, qty: 0 })).status).toBe(400);
    expect((await mall.submit(buyer, form)).status).toBe(201);
  });

  it('is of no use without its token, with the one of another buyer, or with another order', async () => {
    const [sku, buyer, thief] = [await mall.shelve(5), `ann-${randomUUID()}`, `bob-${randomUUID()}`];
    const form = await filled(buyer, sku);
    const answers = [
      await mall.submit(thief, form),
      await mall.submit(thief, { sku, qty: 1 }),
      await mall.submit(thief, { sku, qty: 1, orderToken: 'A'.repeat(32) }),
    ];
    expect(codes(answers)).toEqual([
      'IDEMPOTENCY_TOKEN_INVALID',
      'IDEMPOTENCY_TOKEN_MISSING',
      'IDEMPOTENCY_TOKEN_INVALID',
    ]);
    expect((await mall.submit(buyer, form)).status).toBe(201);
    expect(codes([await mall.submit(buyer, { ...form, qty: 2 })])).toEqual(['IDEMPOTENCY_KEY_REUSED']);
    expect(await mall.orders(thief)).toEqual([]);
    expect(await mall.piecesLeft(sku)).toBe(4);
  });

  it('is not shown for a product that does not exist', async () => {
    const page = await mall.confirm('ann', 'no-such-cup', 1);
    expect({ status: page.status, code: page.body.code }).toEqual({ status: 404, code: 'NO_SUCH_PRODUCT' });
    expect(page.body).not.toHaveProperty('orderToken');
  });
});
