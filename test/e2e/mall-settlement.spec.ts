import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mall, type MallAnswer, type MallOptions } from '../support/mall.js';
import { CUP_CENTS, connected, execute, passDays, payOut, SELL_ONE_MORE } from '../support/mall-books.js';
import { useOwnRedis } from '../support/own-redis.js';

const CLAIMED = 'mall.settlement.claimed';
const TAKEOVER = { timeoutMs: 20_000, intervalMs: 50 };
const EVERY_SECOND = { roles: 'web,settlement', settlementCron: '* * * * * *' };
const SHORT_LEASE = { lockTtl: '1s' };

const postgres = usePostgres();
const redis = useOwnRedis();
let shop: Mall;

beforeAll(async () => {
  shop = await open();
  // The mall's own account is settled here, so that each test has to do with its own merchants alone.
  await settleOnceFree(shop);
}, 60_000);

afterAll(() => shop?.close());

function open(options: Partial<MallOptions> = {}): Promise<Mall> {
  return Mall.open({ databaseUrl: postgres.url, redisUrl: redis.url, roles: 'web', ...options });
}

interface Sales {
  readonly at?: Mall;
  readonly databaseUrl?: string;
  readonly daysAgo?: number;
}

/** Merchants who have sold so many cups each. */
async function merchantsWithSales(
  cups: readonly number[],
  { at = shop, databaseUrl = postgres.url, daysAgo = 2 }: Sales = {},
): Promise<string[]> {
  const merchants = await Promise.all(
    cups.map(async (qty) => {
      const merchant = `merchant-${randomUUID().slice(0, 8)}`;
      const sku = await at.shelve(qty, merchant);
      expect((await at.order('ann', randomUUID(), { sku, qty })).status).toBe(201);
      return merchant;
    }),
  );
  await passDays(databaseUrl, daysAgo, merchants);
  return merchants;
}

/** What each of them has on his account, in cups. */
function cupsOf(merchants: readonly string[], mall = shop): Promise<number[]> {
  return Promise.all(
    merchants.map(async (merchant) => Number((await mall.merchantAccount(merchant)).cents) / CUP_CENTS),
  );
}

/** Asks until no other instance has the lock. */
function settleOnceFree(mall: Mall): Promise<MallAnswer['body']> {
  return eventually(async () => {
    const { status, body } = await mall.settle();
    expect({ status, run: body.status }).toEqual({ status: 200, run: 'done' });
    return body;
  }, TAKEOVER);
}

/** The instance stops between the claim of an account and its payment; the answer comes when it goes on. */
function settleUntilStopped(mall: Mall): Promise<{ readonly answer: Promise<MallAnswer> }> {
  return eventually(async () => {
    const answer = mall.settle();
    const skipped = await Promise.race([answer, mall.child.reached(CLAIMED).then(() => undefined)]);
    expect(skipped).toBeUndefined();
    return { answer };
  }, TAKEOVER);
}

/** The instance dies when it claims the account of that number. */
async function settleUntilKilled(mall: Mall, account: number): Promise<void> {
  await eventually(async () => {
    // Skipped, until the lock of the test before is free; then the connection breaks.
    await mall.settle().catch((error: unknown) => expect(error).toBeInstanceOf(TypeError));
    expect(mall.child.hits(CLAIMED)).toBe(account);
  }, TAKEOVER);
  expect((await mall.child.exited).signal).toBe('SIGKILL');
}

describe('the settlement of the mall', () => {
  it('is done once a night, although the clocks of two instances call it at the same moment', async () => {
    // Enough of them that two instances would meet.
    const cups = Array.from({ length: 20 }, (_, at) => 1 + (at % 3));
    const merchants = await merchantsWithSales(cups, { daysAgo: 0 });
    await using one = await open(EVERY_SECOND);
    await using two = await open(EVERY_SECOND);
    const claimed = (): number => one.child.hits(CLAIMED) + two.child.hits(CLAIMED);
    await eventually(() => expect(claimed()).toBe(cups.length), TAKEOVER);
    expect(await cupsOf(merchants)).toEqual(cups.map(() => 0));

    await passDays(postgres.url, 2, merchants);
    await eventually(async () => expect(await cupsOf(merchants)).toEqual(cups), TAKEOVER);
    const nights = (): number => one.child.hits('lock.acquired') + two.child.hits('lock.acquired');
    const before = nights();
    await eventually(() => expect(nights()).toBeGreaterThan(before), TAKEOVER);
    expect(await cupsOf(merchants)).toEqual(cups);
    expect(claimed()).toBe(2 * cups.length);
    expect([...one.child.lines, ...two.child.lines].filter((line) => line.includes('ERROR'))).toEqual([]);
  }, 60_000);

  it('is done by one of two instances that are asked at the same moment, and skipped by the other', async () => {
    await using other = await open();
    const merchants = await merchantsWithSales([4]);
    const answers = await eventually(async () => {
      const both = await Promise.all([shop.settle(), other.settle()]);
      expect(both.map(({ body }) => body.status).sort()).toEqual(['done', 'skipped']);
      return both.map(({ body }) => body);
    }, TAKEOVER);

    const done = { status: 'done', through: expect.stringMatching(/^\d{4}-\d\d-\d\d$/), accounts: 1, cents: 3_600 };
    expect(answers).toContainEqual(done);
    expect(await cupsOf(merchants)).toEqual([4]);
  }, 60_000);

  it('is finished by another instance at the end of the lease when the one at it is killed in the middle', async () => {
    const merchants = await merchantsWithSales([1, 2, 3]);
    await using killed = await open({ ...SHORT_LEASE, killAt: { name: CLAIMED, hit: 2 } });
    await settleUntilKilled(killed, 2);
    expect((await cupsOf(merchants)).filter((cups) => cups > 0)).toHaveLength(1);

    expect(await settleOnceFree(shop)).toMatchObject({ accounts: 2 });
    expect(await cupsOf(merchants)).toEqual([1, 2, 3]);
  }, 60_000);

  it('is refused to an instance that stood still past its lease, so that money that has gone does not come back', async () => {
    const merchants = await merchantsWithSales([1, 2]);
    await using stopped = await open({ ...SHORT_LEASE, pauseAt: CLAIMED });
    const late = await settleUntilStopped(stopped);
    expect(await settleOnceFree(shop)).toMatchObject({ accounts: 2, cents: 3 * CUP_CENTS });
    expect(await cupsOf(merchants)).toEqual([1, 2]);
    // An account that is written from what was read before would have the money a second time.
    await payOut(postgres.url, merchants, [1, 2]);
    stopped.child.sigcont();

    const { status, body } = await late.answer;
    expect(await cupsOf(merchants)).toEqual([0, 0]);
    expect({ status, code: body.code }).toEqual({ status: 409, code: 'STALE_FENCE' });
    expect(stopped.child.hits(CLAIMED)).toBe(1);
    expect(await settleOnceFree(stopped)).toMatchObject({ accounts: 0, cents: 0 });
    expect(stopped.child.unhandledRejections).toEqual([]);
  }, 60_000);

  it('leaves what the bank fetches between the claim of an account and its payment', async () => {
    const merchants = await merchantsWithSales([3, 2]);
    await settleOnceFree(shop);
    await execute(postgres.url, SELL_ONE_MORE, [merchants]);
    await using stopped = await open({ pauseAt: CLAIMED });
    const { answer } = await settleUntilStopped(stopped);
    await payOut(postgres.url, merchants, [3, 2]);
    stopped.child.sigcont();

    expect((await answer).body).toMatchObject({ status: 'done', accounts: 2, cents: 2 * CUP_CENTS });
    expect(await cupsOf(merchants)).toEqual([1, 1]);
  }, 60_000);

  it('pays an order of a settled day that was committed after the settlement', async () => {
    const merchants = await merchantsWithSales([1, 2]);
    await connected(postgres.url, async (late) => {
      await late.query('BEGIN');
      await late.query(SELL_ONE_MORE, [merchants]);
      await settleOnceFree(shop);
      expect(await cupsOf(merchants)).toEqual([1, 2]);
      await late.query('COMMIT');
    });

    await settleOnceFree(shop);
    expect(await cupsOf(merchants)).toEqual([2, 3]);
    expect(await settleOnceFree(shop)).toMatchObject({ accounts: 0, cents: 0 });
  }, 60_000);

  it('leaves what nobody has paid, and settles it once it is', async () => {
    const merchants = await merchantsWithSales([1]);
    await execute(postgres.url, "UPDATE mall_order SET status = 'placed' WHERE merchant_id = ANY($1)", [merchants]);
    await settleOnceFree(shop);
    expect(await cupsOf(merchants)).toEqual([0]);
    await execute(postgres.url, "UPDATE mall_order SET status = 'paid' WHERE merchant_id = ANY($1)", [merchants]);
    await settleOnceFree(shop);
    expect(await cupsOf(merchants)).toEqual([1]);
  });

  it('leaves a day that is not over for a later night', async () => {
    const merchants = await merchantsWithSales([2], { daysAgo: 0 });
    await settleOnceFree(shop);
    expect(await cupsOf(merchants)).toEqual([0]);
    await passDays(postgres.url, 2, merchants);
    await settleOnceFree(shop);
    expect(await cupsOf(merchants)).toEqual([2]);
  }, 60_000);

  it('is for operators alone', async () => {
    expect((await shop.call('POST', '/settlement/run')).status).toBe(401);
    expect((await shop.call('GET', '/settlement/accounts/house')).status).toBe(401);
  });
});

describe('the settlement of the mall on Postgres alone', () => {
  const alone = usePostgres();

  const options = { roles: 'web' };

  it('is done by one of two instances that are asked at the same moment, and skipped by the other', async () => {
    await using one = await Mall.open({ ...options, databaseUrl: alone.url });
    await using two = await Mall.open({ ...options, databaseUrl: alone.url });
    const merchants = await merchantsWithSales([3, 1], { at: one, databaseUrl: alone.url });
    const answers = await Promise.all([one.settle(), two.settle()]);
    expect(answers.map(({ body }) => body.status).sort()).toEqual(['done', 'skipped']);
    expect(await cupsOf(merchants, two)).toEqual([3, 1]);
  }, 60_000);

  it('is finished by another instance when the connection of the one at it ends, for its lock ends with it', async () => {
    await using next = await Mall.open({ ...options, databaseUrl: alone.url });
    const merchants = await merchantsWithSales([1, 2], { at: next, databaseUrl: alone.url });
    await using killed = await Mall.open({
      ...options,
      databaseUrl: alone.url,
      // No lease ends before the test does.
      lockTtl: '10m',
      killAt: { name: CLAIMED, hit: 2 },
    });
    await settleUntilKilled(killed, 2);
    await settleOnceFree(next);
    expect(await cupsOf(merchants, next)).toEqual([1, 2]);
  }, 60_000);
});
