import { randomUUID } from 'node:crypto';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mall } from '../support/mall.js';
import { useOwnRedis } from '../support/own-redis.js';

const postgres = usePostgres();
const redis = useOwnRedis();

describe.each([
  ['on Redis and Postgres', true],
  ['on Postgres alone', false],
])('the mall %s', (_, withRedis) => {
  let mall: Mall;

  beforeAll(async () => {
    mall = await Mall.open({ databaseUrl: postgres.url, ...(withRedis ? { redisUrl: redis.url } : {}) });
  }, 60_000);

  afterAll(async () => {
    await mall?.close();
    expect(mall?.child.unhandledRejections).toEqual([]);
  });

  it('places one order for a double click and answers the third click as the first', async () => {
    const sku = await mall.shelve(5);
    const buyer = `ann-${randomUUID()}`;
    const key = randomUUID();

    const clicks = await Promise.all([1, 2, 3, 4].map(() => mall.order(buyer, key, { sku, qty: 1 })));
    const again = await mall.order(buyer, key, { sku, qty: 1 });

    const placed = clicks.filter(({ status }) => status === 201);
    const busy = clicks.filter(({ status, body }) => status === 409 && body.code === 'OPERATION_IN_PROGRESS');
    expect(placed.length + busy.length).toBe(4);
    expect(placed.length).toBeGreaterThanOrEqual(1);
    expect(again.status).toBe(201);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.body).toEqual(placed[0]?.body);
    expect(await mall.orders(buyer)).toHaveLength(1);
    expect(await mall.piecesLeft(sku)).toBe(4);
    expect(await mall.pointsEntries(buyer, 1)).toBe(1);
  });

  it('sells ten pieces to fifty racing buyers ten times and refuses forty of them cleanly', async () => {
    const sku = await mall.shelve(10);
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => mall.order(`bob-${randomUUID()}`, randomUUID(), { sku, qty: 1 })),
    );

    expect(answers.filter(({ status }) => status === 201)).toHaveLength(10);
    expect(answers.filter(({ status, body }) => status === 409 && body.code === 'SOLD_OUT')).toHaveLength(40);
    expect(await mall.piecesLeft(sku)).toBe(0);
  });

  it('answers an order for a product that does not exist with a 404, not as sold out', async () => {
    const answer = await mall.order('ann', randomUUID(), { sku: 'no-such-cup', qty: 1 });

    expect({ status: answer.status, code: answer.body.code }).toEqual({ status: 404, code: 'NO_SUCH_PRODUCT' });
  });

  it('takes a key in quotes for the same as without', async () => {
    const sku = await mall.shelve(5);
    const buyer = `ann-${randomUUID()}`;
    const key = randomUUID();

    const bare = await mall.order(buyer, key, { sku, qty: 1 });
    const quoted = await mall.order(buyer, `"${key}"`, { sku, qty: 1 });

    expect([bare.status, quoted.status]).toEqual([201, 201]);
    expect(quoted.body).toEqual(bare.body);
    expect(await mall.orders(buyer)).toHaveLength(1);
  });

  it('keeps the same key of two buyers apart', async () => {
    const sku = await mall.shelve(5);
    const key = randomUUID();
    const [ann, bob] = [`ann-${randomUUID()}`, `bob-${randomUUID()}`];

    const first = await mall.order(ann, key, { sku, qty: 1 });
    const second = await mall.order(bob, key, { sku, qty: 1 });

    expect([first.status, second.status]).toEqual([201, 201]);
    expect(second.body.id).not.toBe(first.body.id);
  });

  it.each([
    ['no key', undefined, 'IDEMPOTENCY_KEY_MISSING'],
    ['a short key', 'short', 'IDEMPOTENCY_KEY_INVALID'],
    ['an oversized key', 'k'.repeat(300), 'IDEMPOTENCY_KEY_INVALID'],
    ['a key that was sent twice', `${randomUUID()}, ${randomUUID()}`, 'IDEMPOTENCY_KEY_INVALID'],
    ['an unfinished quoted key', `"${randomUUID()}`, 'IDEMPOTENCY_KEY_INVALID'],
  ])('refuses %s with a 400 that says so, and places nothing', async (_name, key, code) => {
    const sku = await mall.shelve(1);
    const answer = await mall.order('ann', key, { sku, qty: 1 });

    expect(answer.status).toBe(400);
    expect(answer.body.code).toBe(code);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(await mall.piecesLeft(sku)).toBe(1);
  });

  it('lets a mended body have the key of one that was refused before it did anything', async () => {
    const sku = await mall.shelve(1);
    const buyer = `ann-${randomUUID()}`;
    const key = randomUUID();

    expect((await mall.order(buyer, key, { sku, qty: 'one' })).status).toBe(400);
    expect((await mall.order(buyer, key, { sku, qty: 1 })).status).toBe(201);
  });
});
