import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { BankStandIn } from 'sample-app/bank';
import { PartnerStandIn } from 'sample-app/partner';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Mall, type MallAnswer, type MallOptions } from '../support/mall.js';
import { CUP_CENTS, connected } from '../support/mall-books.js';
import { useOwnRedis } from '../support/own-redis.js';

const CHARGED = 'mall.payment.charged';
const BOOKED = { timeoutMs: 60_000, intervalMs: 100 };
const CLEARED_UP = { timeoutMs: 30_000, intervalMs: 100 };
const postgres = usePostgres();
const redis = useOwnRedis();
let bank: BankStandIn;
let mall: Mall;

beforeAll(async () => {
  bank = await BankStandIn.open();
  mall = await open();
}, 60_000);

afterAll(async () => {
  await mall?.close();
  await bank?.close();
  expect(mall?.child.unhandledRejections).toEqual([]);
});

function open(options: Partial<MallOptions> = {}): Promise<Mall> {
  return Mall.open({ databaseUrl: postgres.url, redisUrl: redis.url, bankUrl: bank.url, roles: 'web', ...options });
}

interface Unpaid {
  readonly buyer: string;
  readonly order: unknown;
  readonly key: string;
}

async function unpaid(at = mall): Promise<Unpaid> {
  const buyer = `ann-${randomUUID()}`;
  const placed = await at.order(buyer, randomUUID(), { sku: await at.shelve(1), qty: 1 });
  expect(placed.status).toBe(201);
  return { buyer, order: placed.body.id, key: randomUUID() };
}

const pay = ({ buyer, order, key }: Unpaid, at = mall): Promise<MallAnswer> => at.pay(buyer, order, key);
const codeOf = ({ status, body }: MallAnswer): unknown => body.code ?? status;

async function listed(id: unknown): Promise<Record<string, unknown> | undefined> {
  const { body } = await mall.operate('GET', '/payments/uncertain');
  return (body as unknown as Record<string, unknown>[]).find((one) => one.id === id);
}

/** How the messages about the payments of an order stand. */
async function messagesOf(order: unknown): Promise<readonly string[]> {
  let states: string[] = [];
  await connected(postgres.url, async (database) => {
    const text = 'SELECT state FROM lockstep_outbox_prepared WHERE key = $1';
    states = (await database.query<{ state: string }>(text, [String(order)])).rows.map(({ state }) => state);
  });
  return states;
}

/** What the bank has is what the mall has booked, and its books balance. */
async function expectBalanced(): Promise<void> {
  const { body } = await mall.operate('GET', '/payments/ledger');
  expect(body).toEqual({ bankCents: bank.cents, sumCents: 0 });
}

describe('a payment of the mall', () => {
  let charges: number;
  beforeEach(() => {
    charges = bank.count;
  });
  const charged = (): number => bank.count - charges;

  it('is charged once for many clicks, and a repetition gets the receipt', async () => {
    const one = await unpaid();
    const clicks = await Promise.all([1, 2, 3, 4].map(() => pay(one)));
    expect(clicks.map(codeOf).filter((code) => code !== 201 && code !== 'OPERATION_IN_PROGRESS')).toEqual([]);
    const again = await pay(one);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.body).toEqual({ reference: expect.any(String), orderId: one.order, cents: CUP_CENTS });
    expect((await pay({ ...one, key: randomUUID() })).body).toEqual(again.body);
    expect(charged()).toBe(1);
    await expectBalanced();
  });

  it('whose answer came too late is not tried again, is listed, and gets its receipt once the bank was asked', async () => {
    const one = await unpaid();
    bank.fail('late');
    expect((await pay(one)).status).toBe(504);
    const repeated = await pay(one);
    expect(repeated.status).toBe(409);
    expect(repeated.body).toMatchObject({ code: 'OPERATION_UNCERTAIN', safeNewKey: false });
    expect(codeOf(await pay({ ...one, key: randomUUID() }))).toBe('PAYMENT_PENDING');
    const { id } = repeated.body;
    expect(await listed(id)).toMatchObject({
      operation: 'POST /orders/:order/payment',
      payment: { orderId: one.order, buyerId: one.buyer, cents: CUP_CENTS, status: 'asked' },
    });

    const cleared = await mall.operate('POST', `/payments/uncertain/${String(id)}/clear-up`);
    expect(cleared).toMatchObject({ status: 200, body: { status: 'paid' } });
    expect(await listed(id)).toBeUndefined();
    const receipt = await pay(one);
    expect(receipt).toMatchObject({ status: 201, body: { orderId: one.order, cents: CUP_CENTS } });
    expect(receipt.headers.get('idempotent-replayed')).toBe('true');
    expect(charged()).toBe(1);
    await expectBalanced();
  });

  it('that never reached the books of the bank can be made after it was asked, by the same key, once', async () => {
    const one = await unpaid();
    bank.fail('lost');
    expect((await pay(one)).status).toBe(504);
    const { id } = (await pay(one)).body;
    const cleared = await mall.operate('POST', `/payments/uncertain/${String(id)}/clear-up`);
    expect(cleared.body).toEqual({ status: 'void' });
    expect((await pay(one)).status).toBe(201);
    expect((await pay(one)).headers.get('idempotent-replayed')).toBe('true');
    expect(charged()).toBe(1);
    await expectBalanced();
  });

  it('of a mall that dies after the charge is cleared up with the bank, and charged once', async () => {
    const one = await unpaid();
    await using dying = await open({ killAt: CHARGED });
    await expect(pay(one, dying)).rejects.toThrow();
    expect((await dying.child.exited).signal).toBe('SIGKILL');
    const { id } = await eventually(async () => {
      const answer = await pay(one);
      expect(answer.body.code).toBe('OPERATION_UNCERTAIN');
      return answer.body;
    }, CLEARED_UP);
    const cleared = await mall.operate('POST', `/payments/uncertain/${String(id)}/clear-up`);
    expect(cleared.body).toEqual({ status: 'paid' });
    expect((await pay(one)).status).toBe(201);
    expect(charged()).toBe(1);
    await expectBalanced();
  }, 60_000);

  it('of a mall that dies after the charge is booked by others, who ask the bank, and a partner is told once', async () => {
    const partner = await PartnerStandIn.open();
    partner.goOut(1);
    const one = await unpaid();
    await using dying = await open({ killAt: CHARGED });
    await expect(pay(one, dying)).rejects.toThrow();
    await using _ = await open({ roles: 'web,relay,consumer', partner });
    await eventually(async () => expect(await mall.orders(one.buyer)).toMatchObject([{ status: 'paid' }]), BOOKED);
    await eventually(async () => expect(partner.timesTold(one.order)).toBe(1), BOOKED);
    expect(charged()).toBe(1);
    await expectBalanced();
    await partner.close();
  }, 90_000);

  it('that the bank never charged is void after the check-back: paid anew or released, and charged late by nobody', async () => {
    const opening = [open({ roles: 'web,relay,consumer', payWithin: '3s' }), open({ killAt: 'outbox.half.prepared' })];
    const [others, dying] = (await Promise.all(opening)) as [Mall, Mall];
    await using _others = others;
    await using _dying = dying;
    const [held, lost, killed] = [await unpaid(), await unpaid(), await unpaid()];
    const released = await unpaid(others);
    bank.fail('lost');
    expect((await pay(released)).status).toBe(504);
    bank.fail('lost');
    expect((await pay(lost)).status).toBe(504);
    bank.fail('held');
    expect((await pay(held)).status).toBe(504);
    await expect(pay(killed, dying)).rejects.toThrow();
    expect(codeOf(await pay({ ...held, key: randomUUID() }))).toBe('PAYMENT_PENDING');

    await eventually(async () => expect((await pay({ ...held, key: randomUUID() })).status).toBe(201), CLEARED_UP);
    await eventually(async () => expect((await pay({ ...lost, key: randomUUID() })).status).toBe(201), CLEARED_UP);
    expect((await pay({ ...killed, key: randomUUID() })).status).toBe(201);
    expect(bank.letGo()).toBe(1);
    await eventually(
      async () => expect(await mall.orders(released.buyer)).toMatchObject([{ status: 'released' }]),
      CLEARED_UP,
    );
    expect(codeOf(await pay({ ...released, key: randomUUID() }))).toBe('NO_SUCH_ORDER');
    expect(charged()).toBe(3);
    await expectBalanced();
  }, 60_000);

  it('is not made while the bank is down, its message is dropped at once, and the key stays good', async () => {
    const other = await BankStandIn.open();
    await using alone = await open({ bankUrl: other.url });
    await other.close();
    const one = await unpaid();
    expect((await pay(one, alone)).status).toBe(503);
    expect((await pay(one, alone)).status).toBe(503);
    expect(await messagesOf(one.order)).toEqual(['rolled-back', 'rolled-back']);
    expect((await pay(one)).status).toBe(201);
    expect(charged()).toBe(1);
    await expectBalanced();
  });

  it('is for the buyer of the order, and its clearing up for operators alone', async () => {
    const one = await unpaid();
    expect(codeOf(await pay({ ...one, buyer: `bob-${randomUUID()}` }))).toBe('NO_SUCH_ORDER');
    expect((await mall.call('GET', '/payments/uncertain')).status).toBe(401);
    expect((await mall.call('POST', '/payments/uncertain/x/clear-up')).status).toBe(401);
    expect((await mall.operate('POST', '/payments/uncertain/x/clear-up')).status).toBe(404);
    expect(charged()).toBe(0);
  });
});
