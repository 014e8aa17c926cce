import 'reflect-metadata';
import { Incidents, MemoryRetryScheduler } from '@lockstep/core';
import { NOTIFICATION_STORE, type NotificationStore, newWebhookSecret } from '@lockstep/outbox/notifications';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type NotificationApplication,
  type NotificationApplicationOptions,
  startNotifications,
} from './support/notification-application.js';
import { Gate, Partner, type Reaction } from './support/partner.js';

const HOUR_MS = 3_600_000;
const PATIENCE = { timeoutMs: 15_000 };
const statusOf = ({ status }: Reaction) => ({ status });

describe('Delivery', () => {
  const postgres = usePostgres();
  const applications: NotificationApplication[] = [];
  const partners: Partner[] = [];
  let partner: Partner;
  let db: pg.Client;

  beforeAll(async () => {
    db = new pg.Client(postgres.url);
    await db.connect();
  });
  afterAll(() => db.end());

  const newPartner = async () => {
    const started = await Partner.start();
    partners.push(started);
    return started;
  };
  const start = async (options: Partial<NotificationApplicationOptions> = {}): Promise<NotificationApplication> => {
    const application = await startNotifications({ url: postgres.url, ...options });
    applications.push(application);
    return application;
  };
  /** With one endpoint, `shop`. */
  const startShop = async (options: Partial<NotificationApplicationOptions> = {}) => {
    const application = await start(options);
    const { secret } = await application.endpoints.register({ id: 'shop', url: partner.url });
    return { ...application, secret };
  };
  const send = ({ sql, notifications }: NotificationApplication, endpoint = 'shop', data: unknown = { n: 1 }) =>
    sql.transaction(() => notifications.send({ endpoint, type: 'order.shipped', data }));
  const untilState = (application: NotificationApplication, id: string, state: string) =>
    eventually(async () => {
      const status = await application.notifications.find(id);
      expect(status).toMatchObject({ state });
      return status;
    }, PATIENCE);

  beforeEach(async () => {
    partner = await newPartner();
  });
  afterEach(async () => {
    // First the partners, so that nobody is waited for.
    await Promise.all(partners.splice(0).map((each) => each.stop()));
    await Promise.all(applications.splice(0).map(({ app }) => app.close()));
    await db.query('TRUNCATE lockstep_notification, lockstep_notification_endpoint');
  });

  it('posts what was committed, signed as Standard Webhooks wants it', async () => {
    const shop = await startShop();
    const id = await send(shop, 'shop', { order: 'ü-1', total: 12 });
    const status = await untilState(shop, id, 'delivered');
    expect(status?.attempts).toMatchObject([{ status: 204, error: undefined }]);
    const [got] = partner.received;
    if (!got) throw new Error('nothing arrived');
    expect(Partner.verify(got, shop.secret)).toMatchObject({
      type: 'order.shipped',
      data: { order: 'ü-1', total: 12 },
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(got.id).toBe(id);
    expect(got.headers['content-type']).toBe('application/json');
    expect(() => Partner.verify({ ...got, body: `${got.body} ` }, shop.secret)).toThrow();
    expect(() => Partner.verify(got, newWebhookSecret())).toThrow();
  });

  it('tries again by the schedule with the same id and a time of its own, and then gives up', async () => {
    const shop = await startShop({ schedule: [0, 1_100, 50], jitter: 0 });
    partner.react([], { status: 500 });
    const id = await send(shop);
    const status = await untilState(shop, id, 'exhausted');
    expect(status).toMatchObject({
      reason: 'answered 500',
      attempts: [{ status: 500 }, { status: 500 }, { status: 500 }],
    });
    expect(partner.ids()).toEqual([id, id, id]);
    const [first, second] = partner.received;
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(1_090);
    const [early, late] = partner.received.map(({ headers }) => Number(headers['webhook-timestamp']));
    expect(late).toBeGreaterThan(early ?? 0);
    for (const got of partner.received) Partner.verify(got, shop.secret);
    expect(new Set(partner.received.map(({ body }) => body)).size).toBe(1);
    expect(shop.incidents.map(({ code }) => code)).toContain('NOTIFICATION_EXHAUSTED');
  });

  it('knows what each answer means, follows no redirect, and reads no endless body', async () => {
    const table: Readonly<Record<string, readonly [reaction: Reaction, attempts: number]>> = {
      '200': [{ status: 200 }, 1],
      '299': [{ status: 299 }, 1],
      'a redirect': [{ status: 302, headers: { location: 'http://169.254.169.254/latest/meta-data' } }, 2],
      'a redirect to itself': [{ status: 308, headers: { location: '/other' } }, 2],
      '304': [{ status: 304 }, 2],
      '400': [{ status: 400 }, 2],
      '404': [{ status: 404 }, 2],
      '429': [{ status: 429 }, 2],
      '500': [{ status: 500 }, 2],
      '502': [{ status: 502 }, 2],
      'no answer in time': [{ hangs: true }, 2],
      'a success of 10 MB': [{ status: 200, body: 'x'.repeat(10_000_000) }, 1],
      'a failure of 10 MB': [{ status: 500, body: 'x'.repeat(10_000_000) }, 2],
    };
    const application = await start({ timeout: 2_000, leaseTtl: 4_000 });
    const seen: Record<string, unknown> = {};
    const ask = async (what: string, reaction: Reaction, endpoint: string): Promise<void> => {
      const asked = await newPartner();
      asked.react([reaction]);
      await application.endpoints.register({ id: endpoint, url: asked.url });
      const status = await untilState(application, await send(application, endpoint), 'delivered');
      seen[what] = [status?.attempts.length, asked.received.map(({ path }) => path)];
    };
    await Promise.all(Object.entries(table).map(([what, [reaction]], at) => ask(what, reaction, `partner-${at}`)));
    const expected = Object.entries(table).map(([what, [, tries]]) => [what, [tries, Array(tries).fill('/hook')]]);
    expect(seen).toEqual(Object.fromEntries(expected));
  }, 20_000);

  it('disables an endpoint that answers 410 and cancels what is pending; enabled again, it replays', async () => {
    const shop = await startShop({ schedule: [0, HOUR_MS], concurrencyPerEndpoint: 1 });
    partner.react([{ status: 500 }, { status: 410 }]);
    const waiting = await send(shop);
    await eventually(() => expect(partner.received).toHaveLength(1));
    const id = await send(shop);
    expect(await untilState(shop, id, 'cancelled')).toMatchObject({ attempts: [{ status: 410 }] });
    await untilState(shop, waiting, 'cancelled');
    expect(await shop.endpoints.find('shop')).toMatchObject({ disabledReason: 'answered 410' });
    expect(shop.incidents.map(({ code }) => code)).toContain('NOTIFICATION_ENDPOINT_DISABLED');
    const later = await send(shop);
    await untilState(shop, later, 'cancelled');
    expect(partner.received).toHaveLength(2);

    const range = { endpoint: 'shop', from: new Date(Date.now() - HOUR_MS), to: new Date(Date.now() + HOUR_MS) };
    await expect(shop.notifications.replay(range)).rejects.toMatchObject({ code: 'NOTIFICATION_REPLAY_REFUSED' });
    await shop.endpoints.enable('shop');
    expect(await shop.notifications.replay(range)).toBe(3);
    for (const each of [waiting, id, later]) await untilState(shop, each, 'delivered');
    expect(new Set(partner.ids().slice(2))).toEqual(new Set([waiting, id, later]));
  });

  it.each([
    ['410', { status: 410 }],
    ['failure', { status: 500 }],
    ['wish to be left alone', { status: 503, headers: { 'retry-after': '3600' } }],
  ])('takes the %s of a url that the endpoint has left for nothing but a failed attempt', async (_what, reaction) => {
    const shop = await startShop({ disableAfter: 1 });
    const next = await newPartner();
    const gate = new Gate();
    partner.react([{ ...reaction, after: gate.opened }]);
    const id = await send(shop);
    await eventually(() => expect(partner.received).toHaveLength(1));
    await shop.endpoints.update('shop', { url: next.url });
    gate.open();
    expect(await untilState(shop, id, 'delivered')).toMatchObject({
      attempts: [reaction, { status: 204 }].map(statusOf),
    });
    expect(next.ids()).toEqual([id]);
    expect(await shop.endpoints.find('shop')).toMatchObject({ disabledAt: undefined, failingSince: undefined });
  });

  it('disables no endpoint by the 410 of an attempt that began before it was enabled', async () => {
    const shop = await startShop();
    const gate = new Gate();
    partner.react([{ status: 410, after: gate.opened }]);
    const id = await send(shop);
    await eventually(() => expect(partner.received).toHaveLength(1));
    await shop.endpoints.disable('shop');
    await shop.endpoints.enable('shop');
    gate.open();
    await untilState(shop, id, 'delivered');
    expect(await shop.endpoints.find('shop')).toMatchObject({ disabledAt: undefined });
    expect(shop.incidents).toEqual([]);
  });

  it.each([
    ['in seconds', () => '1'],
    ['as a date', () => new Date(Date.now() + 2_500).toUTCString()],
  ])('leaves an endpoint alone for as long as it asks (%s)', async (_form, retryAfter) => {
    const shop = await startShop({ schedule: [0, 0, 0] });
    partner.react([{ status: 503, headers: { 'retry-after': retryAfter() } }]);
    await send(shop);
    await eventually(() => expect(partner.received).toHaveLength(1));
    await eventually(async () => {
      const [row] = await shop.sql.query(
        'SELECT 1 AS one FROM lockstep_notification_endpoint WHERE paused_until > now()',
      );
      expect(row).toBeDefined();
    });
    const other = await send(shop);
    await untilState(shop, other, 'delivered');
    const [asked, ...after] = partner.received.map(({ at }) => at);
    for (const at of after) expect(at - (asked ?? 0)).toBeGreaterThan(900);
  });

  it('obeys a Retry-After up to its bound', async () => {
    const shop = await startShop({ schedule: [0, 0], retryAfterAtMost: 100 });
    partner.react([{ status: 429, headers: { 'retry-after': '999999999' } }]);
    await untilState(shop, await send(shop), 'delivered');
  });

  it('disables an endpoint that has done nothing but fail for disableAfter, and a success in between prevents it', async () => {
    const shop = await startShop({ schedule: [0], disableAfter: 200 });
    const sendAndSee = async (status: number, state: string) => {
      partner.react([], { status });
      await untilState(shop, await send(shop), state);
    };
    await sendAndSee(500, 'exhausted');
    await sendAndSee(204, 'delivered');
    await eventually(async () => expect((await shop.endpoints.find('shop'))?.failingSince).toBeUndefined());
    await sendAndSee(500, 'exhausted');
    expect((await shop.endpoints.find('shop'))?.disabledAt).toBeUndefined();
    await eventually(async () => {
      await send(shop);
      expect((await shop.endpoints.find('shop'))?.disabledAt).toBeDefined();
    });
  });

  it('lets no slow partner hold up the others', async () => {
    const slow = partner;
    const fast = await newPartner();
    const shop = await startShop({ concurrency: 4, concurrencyPerEndpoint: 2, timeout: 20_000, leaseTtl: 40_000 });
    await shop.endpoints.register({ id: 'fast', url: fast.url });
    slow.react([], { hangs: true });
    for (let n = 0; n < 12; n += 1) await send(shop);
    await eventually(() => expect(slow.received).toHaveLength(2));
    const ids: string[] = [];
    for (let n = 0; n < 12; n += 1) ids.push(await send(shop, 'fast'));
    await eventually(() => expect(new Set(fast.ids())).toEqual(new Set(ids)), { timeoutMs: 8_000 });
    expect(slow.received).toHaveLength(2);
  });

  it('keeps slots for the others when many partners hang at once', async () => {
    const hanging = await Promise.all(Array.from({ length: 5 }, newPartner));
    const shop = await startShop({ timeout: 20_000, leaseTtl: 40_000 });
    for (const [n, each] of hanging.entries()) {
      each.react([], { hangs: true });
      await shop.endpoints.register({ id: `slow-${n}`, url: each.url });
    }
    await shop.sql.transaction(async () => {
      for (let n = 0; n < 60; n += 1) await send(shop, `slow-${n % 5}`);
    });
    await eventually(() => expect(hanging.map(({ received }) => received.length >= 2)).not.toContain(false));
    const ids: string[] = [];
    for (let n = 0; n < 12; n += 1) ids.push(await send(shop));
    await eventually(() => expect(new Set(partner.ids())).toEqual(new Set(ids)), { timeoutMs: 8_000 });
  });

  it('gives a partner who fails one slot, until he answers', async () => {
    const fast = await newPartner();
    const shop = await startShop({ timeout: 20_000, leaseTtl: 40_000, schedule: [0] });
    await shop.endpoints.register({ id: 'fast', url: fast.url });
    const gate = new Gate();
    partner.react([{ status: 500 }, { after: gate.opened }], { hangs: true });
    await untilState(shop, await send(shop), 'exhausted');
    await eventually(async () => expect((await shop.endpoints.find('shop'))?.failingSince).toBeDefined());
    for (let n = 0; n < 8; n += 1) await send(shop);
    for (let n = 0; n < 8; n += 1) await untilState(shop, await send(shop, 'fast'), 'delivered');
    expect(partner.received).toHaveLength(2);
    gate.open();
    await eventually(() => expect(partner.received).toHaveLength(6));
  });

  it('goes on with the others, and ends when it is asked to, while the backlog of a disabled endpoint is cancelled', async () => {
    const fast = await newPartner();
    const shop = await startShop();
    await shop.endpoints.register({ id: 'fast', url: fast.url });
    const store = shop.app.get<NotificationStore>(NOTIFICATION_STORE);
    // A backlog without an end.
    const cancelling = vi.spyOn(store, 'cancelPending').mockImplementation(async (_endpoint, _reason, limit) => limit);
    partner.react([], { status: 410 });
    await send(shop);
    await eventually(() => expect(cancelling.mock.calls.length).toBeGreaterThan(2));
    await untilState(shop, await send(shop, 'fast'), 'delivered');
    await shop.app.close();
    expect(shop.incidents.map(({ code }) => code)).toEqual(['NOTIFICATION_ENDPOINT_DISABLED']);
  });

  it('warns of no leak however many attempts run', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => void warnings.push(warning);
    process.on('warning', note);
    const shop = await startShop({ concurrency: 40, concurrencyPerEndpoint: 20 });
    partner.react([], { hangs: true });
    for (let n = 0; n < 20; n += 1) await send(shop);
    await eventually(() => expect(partner.received.length).toBeGreaterThan(11));
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('signs with the old and the new secret while they rotate, and with the new one alone after that', async () => {
    const shop = await startShop();
    const { secret } = await shop.endpoints.rotateSecret('shop', { keepOldFor: '1h' });
    await untilState(shop, await send(shop), 'delivered');
    const [during] = partner.received;
    if (!during) throw new Error('nothing arrived');
    Partner.verify(during, secret);
    Partner.verify(during, shop.secret);
    const { secret: third } = await shop.endpoints.rotateSecret('shop', { keepOldFor: 0 });
    await untilState(shop, await send(shop), 'delivered');
    const after = partner.received[1];
    if (!after) throw new Error('nothing arrived');
    Partner.verify(after, third);
    expect(() => Partner.verify(after, secret)).toThrow();
    expect(() => Partner.verify(after, shop.secret)).toThrow();
  });

  it('signs with an old secret no longer than it was kept for', async () => {
    const shop = await startShop();
    const { secret } = await shop.endpoints.rotateSecret('shop', { keepOldFor: 300 });
    await eventually(async () => {
      await untilState(shop, await send(shop), 'delivered');
      const last = partner.received.at(-1);
      if (!last) throw new Error('nothing arrived');
      Partner.verify(last, secret);
      expect(() => Partner.verify(last, shop.secret)).toThrow();
    });
  });

  it('sends to a url with the secrets of the module, and remembers how it behaves', async () => {
    const secret = newWebhookSecret();
    const shop = await start({ secrets: [secret] });
    partner.react([{ status: 500 }, { status: 410 }]);
    const sending = () =>
      shop.sql.transaction(() => shop.notifications.send({ url: partner.url, type: 'ping', data: {} }));
    await untilState(shop, await sending(), 'cancelled');
    await untilState(shop, await sending(), 'cancelled');
    expect(partner.received).toHaveLength(2);
    for (const got of partner.received) Partner.verify(got, secret);
  });

  it('shares the work of two processes, and neither sends what the other does', async () => {
    const one = await startShop();
    await start();
    const ids: string[] = [];
    for (let n = 0; n < 40; n += 1) ids.push(await send(one));
    await eventually(() => expect(new Set(partner.ids())).toEqual(new Set(ids)));
    await eventually(async () => expect(await one.notifications.facts()).toMatchObject({ pending: 0 }));
    expect(partner.received).toHaveLength(40);
  });

  it('finishes what it is sending before it ends, and begins nothing else', async () => {
    const shop = await startShop({ concurrencyPerEndpoint: 2 });
    partner.react([], { status: 204 });
    for (let n = 0; n < 30; n += 1) await send(shop);
    await eventually(() => expect(partner.received.length).toBeGreaterThan(2));
    await shop.app.close();
    const { rows } = await db.query(
      `SELECT count(*) FILTER (WHERE state = 'delivered')::int AS delivered,
         count(*) FILTER (WHERE is_claimed)::int AS claimed FROM lockstep_notification`,
    );
    expect(rows).toEqual([{ delivered: partner.received.length, claimed: 0 }]);
  });

  it('gives back what a partner does not answer before the shutdown is over, for another process to send', async () => {
    const shop = await startShop({ timeout: 60_000, leaseTtl: 120_000 });
    partner.react([{ hangs: true }]);
    const id = await send(shop);
    await eventually(() => expect(partner.received).toHaveLength(1));
    await shop.app.close();
    const other = await start({ run: { worker: false } });
    expect(await other.notifications.find(id)).toMatchObject({ state: 'pending', attempts: [] });
    const heir = await start();
    await untilState(heir, id, 'delivered');
    expect(partner.ids()).toEqual([id, id]);
  });

  it('sends at once what this process commits, and wakes others through the scheduler, long before a sweep', async () => {
    const scheduler = new MemoryRetryScheduler(new Incidents());
    // Both have the same one, as two processes share a queue.
    const worker = await startShop({ sweepEvery: 60_000, schedule: [0, 200], jitter: 0, scheduler });
    const web = await start({ run: { worker: false }, scheduler });
    partner.react([{ status: 500 }]);
    await untilState(worker, await send(worker), 'delivered');
    await untilState(worker, await send(web), 'delivered');
    await scheduler.close();
  });

  it('keeps no transaction open while a partner takes its time', async () => {
    const shop = await startShop();
    partner.react([{ hangs: true }]);
    await send(shop);
    await eventually(() => expect(partner.received).toHaveLength(1));
    const open = await shop.sql.query(
      `SELECT state FROM pg_stat_activity
       WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()`,
    );
    expect(open).toEqual([]);
  });
});
