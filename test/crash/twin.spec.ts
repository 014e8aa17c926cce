import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mall, type MallAnswer } from '../support/mall.js';
import { useOwnRedis } from '../support/own-redis.js';

const postgres = usePostgres();
const redis = useOwnRedis();
let database: Client;

beforeAll(async () => {
  database = new Client({ connectionString: postgres.url });
  await database.connect();
});
afterAll(() => database?.end());

async function expectSomebodyWaitsForARow(): Promise<void> {
  const { rows } = await database.query(
    `SELECT 1 FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%mall_%'`,
  );
  expect(rows).toHaveLength(1);
}

describe('an order whose process stands still beyond its leases, just before its commit', () => {
  it('is the answer of the process that took the request over, not a refusal', { timeout: 60_000 }, async () => {
    const servers = { databaseUrl: postgres.url, redisUrl: redis.url, roles: 'web' };
    const [buyer, key] = [`ann-${randomUUID()}`, randomUUID()];
    await using next = await Mall.open(servers);
    const sku = await next.shelve(1);
    await using frozen = await Mall.open({ ...servers, pauseAt: 'sql.commit.before' });
    const first = frozen.order(buyer, key, { sku, qty: 1 }).catch(() => undefined);
    await frozen.child.reached('sql.commit.before');

    // Busy until the lease of the request ends; then it waits for the lock, and at last for the frozen transaction.
    let answer: MallAnswer | undefined;
    const takingOver = eventually(
      async () => {
        answer = await next.order(buyer, key, { sku, qty: 1 });
        expect(answer.body.code).not.toBe('OPERATION_IN_PROGRESS');
      },
      { timeoutMs: 40_000, intervalMs: 200 },
    );
    await eventually(expectSomebodyWaitsForARow, { timeoutMs: 30_000, intervalMs: 50 });
    frozen.child.sigcont();
    await takingOver;
    await first;

    const orders = await next.orders(buyer);
    expect(orders).toHaveLength(1);
    expect({ status: answer?.status, id: answer?.body.id }).toEqual({ status: 201, id: orders[0]?.id });
    expect(await next.piecesLeft(sku)).toBe(0);
  });
});
