import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Redis } from 'ioredis';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { Mall } from '../support/mall.js';
import { useOwnRedis } from '../support/own-redis.js';

const postgres = usePostgres();
const redis = useOwnRedis();

describe('an order whose lock was taken away while it was placed', () => {
  it('is found again by the same request, which is not told for ever that nobody knows', async () => {
    await using mall = await Mall.open({ databaseUrl: postgres.url, redisUrl: redis.url });
    const [buyer, key, sku] = [`ann-${randomUUID()}`, randomUUID(), await mall.shelve(5)];
    const shelf = new pg.Client(postgres.url);
    const locks = new Redis(redis.url);
    try {
      await shelf.connect();
      await shelf.query('BEGIN');
      await shelf.query('SELECT 1 FROM mall_stock WHERE sku = $1 FOR UPDATE', [sku]);
      const first = mall.order(buyer, key, { sku, qty: 1 });
      const taken = await eventually(
        async () => {
          const waiting = await shelf.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
          );
          expect(waiting.rowCount).toBe(1);
          return locks.keys(`mall:lock:*${sku}*`);
        },
        { intervalMs: 5 },
      );
      expect(await locks.del(...taken)).toBe(1);
      await shelf.query('COMMIT');
      expect(await first).toMatchObject({ status: 500, body: { code: 'LOCK_LOST' } });
    } finally {
      await shelf.end();
      locks.disconnect();
    }
    expect((await mall.order(buyer, key, { sku, qty: 1 })).status).toBe(201);
    expect(await mall.orders(buyer)).toHaveLength(1);
    expect(await mall.piecesLeft(sku)).toBe(4);
  }, 60_000);
});
