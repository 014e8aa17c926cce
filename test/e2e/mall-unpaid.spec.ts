import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mall, type MallOptions } from '../support/mall.js';
import { useOwnRedis } from '../support/own-redis.js';

const RELEASED = { timeoutMs: 40_000, intervalMs: 100 };
const PIECES = 3;
const postgres = usePostgres();
const redis = useOwnRedis();
let web: Mall;

/** Orders are placed here; what becomes of them is done by others, which may be killed. */
beforeAll(async () => {
  web = await open({ roles: 'web', payWithin: '1s' });
}, 60_000);
afterAll(() => web?.close());

function open(options: Partial<MallOptions> = {}): Promise<Mall> {
  return Mall.open({ databaseUrl: postgres.url, redisUrl: redis.url, ...options });
}

interface Placed {
  readonly buyer: string;
  readonly sku: string;
}

async function placed(): Promise<Placed> {
  const [buyer, sku] = [`ann-${randomUUID()}`, await web.shelve(PIECES)];
  expect((await web.order(buyer, randomUUID(), { sku, qty: PIECES })).status).toBe(201);
  expect(await web.piecesLeft(sku)).toBe(0);
  return { buyer, sku };
}

async function untilReleased({ buyer, sku }: Placed): Promise<void> {
  await eventually(async () => {
    expect(await web.orders(buyer)).toMatchObject([{ status: 'released' }]);
    expect(await web.piecesLeft(sku)).toBe(PIECES);
    expect(await web.coupons(buyer)).toEqual([]);
    expect((await web.call('GET', '/points', { 'x-buyer': buyer })).body.entries).toBe(0);
  }, RELEASED);
}

describe('an order of the mall that nobody pays', () => {
  it('earns points and a coupon when it is placed, and gives pieces, points and coupon back in time', async () => {
    await using _ = await open({ roles: 'web,relay,consumer', payWithin: '1s' });
    const order = await placed();
    await untilReleased(order);
  }, 60_000);

  it.each(['outbox.claimed', 'outbox.consumer.committed'])(
    'gives them back once, though its helper is killed at %s',
    async (killAt) => {
      const order = await placed();
      await using dying = await open({ roles: 'web,relay,consumer', payWithin: '1s', killAt });
      expect((await dying.child.exited).signal).toBe('SIGKILL');
      await using _ = await open({ roles: 'web,relay,consumer', payWithin: '1s' });
      await untilReleased(order);
    },
    90_000,
  );
});
