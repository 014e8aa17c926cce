import { randomUUID } from 'node:crypto';
import {
  eventually,
  freePort,
  type PostgresServer,
  type RedisServer,
  startFakeRedis,
  startPostgres,
  startRedis,
} from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mall, type MallAnswer } from '../support/mall.js';
import { Customer } from '../support/mall-customer.js';

let postgres: PostgresServer;
let redis: RedisServer;
let databaseUrl: string;

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  databaseUrl = await postgres.createDatabase('mall');
}, 60_000);

afterAll(async () => {
  await Promise.all([postgres?.stop(), redis?.stop()]);
});

function expectUnavailable({ status, body, headers }: MallAnswer): void {
  expect({ status, code: body.code }).toEqual({ status: 503, code: 'STORE_UNAVAILABLE' });
  expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
}

/** Orders until it works; the outage is over, so it must. */
async function orderOnceRecovered(mall: Mall, sku: string): Promise<void> {
  const buyer = `ann-${randomUUID()}`;
  const key = randomUUID();
  await eventually(
    async () => {
      const answer = await mall.order(buyer, key, { sku, qty: 1 });
      if (answer.status !== 201) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`);
    },
    { timeoutMs: 30_000, intervalMs: 200 },
  );
  expect(await mall.orders(buyer)).toHaveLength(1);
  expect(await mall.pointsEntries(buyer, 1)).toBe(1);
}

describe('an outage of a server', () => {
  it('lets the mall start without Redis, answer 503 with Retry-After, and recover by itself', async () => {
    const port = await freePort();
    await using mall = await Mall.open({ databaseUrl, redisUrl: `redis://127.0.0.1:${port}` });
    const sku = await mall.shelve(3);
    expectUnavailable(await mall.order('ann', randomUUID(), { sku, qty: 1 }));
    expect(await mall.piecesLeft(sku)).toBe(3);

    const late = await startRedis({ port });
    try {
      await orderOnceRecovered(mall, sku);
    } finally {
      await mall.close();
      await late.stop();
    }
    expect(mall.child.unhandledRejections).toEqual([]);
  });

  it('lets the mall start without Postgres, answer 503 with Retry-After, and recover by itself', async () => {
    await postgres.kill();
    await using mall = await Mall.open({ databaseUrl, redisUrl: redis.url });
    expectUnavailable(await mall.order('ann', randomUUID(), { sku: 'cup', qty: 1 }));

    await postgres.restart();
    let sku = '';
    await eventually(
      async () => {
        sku = await mall.shelve(3);
      },
      { timeoutMs: 30_000 },
    );
    await orderOnceRecovered(mall, sku);
    await mall.close();
    expect(mall.child.unhandledRejections).toEqual([]);
  });

  it.each([
    ['Redis', (): Outage => redis],
    ['Postgres', (): Outage => postgres],
  ])('answers 503 while %s is away in mid-flight, and goes on afterwards', async (_, server) => {
    await using mall = await Mall.open({ databaseUrl, redisUrl: redis.url });
    const sku = await mall.shelve(3);
    await server().kill();
    expectUnavailable(await mall.order(`ann-${randomUUID()}`, randomUUID(), { sku, qty: 1 }));

    await server().restart();
    await orderOnceRecovered(mall, sku);
    expect(await mall.piecesLeft(sku)).toBe(2);
    await mall.close();
    expect(mall.child.unhandledRejections).toEqual([]);
  });

  it('lets a customer go on looking around while the sessions are down, and keep his cookie', async () => {
    await using mall = await Mall.open({ databaseUrl, redisUrl: redis.url, roles: 'web' });
    const customer = new Customer();
    await customer.login(mall, await customer.signUp(mall));
    await redis.kill();
    try {
      const looked = await customer.ask(mall, 'GET /products');
      expect({ status: looked.status, setCookies: looked.setCookies }).toEqual({ status: 200, setCookies: [] });
      expect(await customer.ask(mall, 'GET /me')).toMatchObject({
        status: 503,
        body: { code: 'STORE_UNAVAILABLE' },
        setCookies: [],
      });
    } finally {
      await redis.restart();
    }
  });

  it('is told apart from a server that is too old: the log names the version that is needed', async () => {
    const old = await startFakeRedis({ version: '5.0.14', replies: { TIME: '*2\r\n$1\r\n1\r\n$1\r\n0\r\n' } });
    try {
      await using mall = await Mall.open({ databaseUrl, redisUrl: old.url });
      // 503 until the connection stands, however slow the machine is.
      await eventually(async () => {
        const answer = await mall.order('ann', randomUUID(), { sku: 'cup', qty: 1 });
        expect({ status: answer.status, code: answer.body.code }).toEqual({
          status: 500,
          code: 'CONFIGURATION_INVALID',
        });
      });
      await mall.child.waitForLine(/Redis is version 5\.0\.14; Lockstep needs 6\.2 or newer/);
    } finally {
      await old.stop();
    }
  });
});

type Outage = Pick<RedisServer, 'kill' | 'restart'>;
