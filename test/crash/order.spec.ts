import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mall, type MallAnswer } from '../support/mall.js';
import { useOwnRedis } from '../support/own-redis.js';
import { FATAL_CHECKPOINTS } from './order/fleet.js';

const postgres = usePostgres();
const redis = useOwnRedis();

/** Some are passed only under special circumstances; the chaos run gets there. */
const RARE = ['outbox.settled', 'outbox.overdue', 'bullmq.follow-ups.added'];
/** What happens at these is shown by the suites of the packages; the chaos run kills the mall there, too. */
const SHOWN_ELSEWHERE = [
  'idempotency.executed',
  'sql.commit.before',
  'outbox.published',
  'outbox.acked',
  'outbox.consumer.handled',
  'bullmq.batch.handled',
];
const left = new Set([...RARE, ...SHOWN_ELSEWHERE]);
const steps = Object.values(FATAL_CHECKPOINTS)
  .flat()
  .filter((step) => !left.has(step));

async function tryToOrder(mall: Mall, buyer: string, key: string, sku: string): Promise<MallAnswer | undefined> {
  try {
    return await mall.order(buyer, key, { sku, qty: 1 });
  } catch (error) {
    // The process died under the request.
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

describe('an order survives a SIGKILL of its process', () => {
  /** Neither relays nor consumes. */
  let warehouse: Mall;
  beforeAll(async () => {
    warehouse = await Mall.open({ databaseUrl: postgres.url, redisUrl: redis.url, roles: 'web' });
  });
  afterAll(() => warehouse[Symbol.asyncDispose]());

  it.for(steps)('at %s: one order, one piece gone, points once', { timeout: 90_000 }, async (step) => {
    const servers = { databaseUrl: postgres.url, redisUrl: redis.url };
    const buyer = `ann-${randomUUID()}`;
    const key = randomUUID();
    const sku = await warehouse.shelve(2);

    const doomed = await Mall.open({ ...servers, killAt: step });
    const first = await tryToOrder(doomed, buyer, key, sku);
    expect((await doomed.child.exited).signal).toBe('SIGKILL');

    await using next = await Mall.open(servers);
    let answer: MallAnswer | undefined;
    await eventually(
      async () => {
        answer = await next.order(buyer, key, { sku, qty: 1 });
        if (answer.status !== 201) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`);
      },
      { timeoutMs: 30_000, intervalMs: 200 },
    );

    const orders = await next.orders(buyer);
    expect(orders).toHaveLength(1);
    expect(answer?.body.id).toBe(orders[0]?.id);
    if (first?.status === 201) expect(answer?.body).toEqual(first.body);
    expect(await next.piecesLeft(sku)).toBe(1);
    expect(await next.pointsEntries(buyer, 1)).toBe(1);
    expect([...doomed.child.unhandledRejections, ...next.child.unhandledRejections]).toEqual([]);
  });
});
