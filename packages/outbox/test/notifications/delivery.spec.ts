import 'reflect-metadata';
import { Incidents, MemoryRetryScheduler } from '@lockstep/core';
import { newWebhookSecret } from '@lockstep/outbox/notifications';
import { eventually } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';
import { useDelivery } from './support/delivery-bench.js';
import { Partner, type Reaction } from './support/partner.js';

describe('Delivery', () => {
  const { newPartner, onPartner, query, send, start, startShop, untilState } = useDelivery();
  let partner: Partner;
  onPartner((started) => {
    partner = started;
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

  it('gives up by what was answered last when the schedule was made shorter', async () => {
    const before = await startShop({ schedule: [0, 0, 200], jitter: 0 });
    partner.react([], { status: 500 });
    const id = await send(before);
    await eventually(async () => expect((await before.notifications.find(id))?.attempts).toHaveLength(2));
    await before.app.close();
    const after = await start({ schedule: [0] });
    expect(await untilState(after, id, 'exhausted')).toMatchObject({ reason: 'answered 500' });
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

  it('finishes what it is sending before it ends, and begins nothing else', async () => {
    const shop = await startShop({ concurrencyPerEndpoint: 2 });
    partner.react([], { status: 204 });
    for (let n = 0; n < 30; n += 1) await send(shop);
    await eventually(() => expect(partner.received.length).toBeGreaterThan(2));
    await shop.app.close();
    const { rows } = await query(
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
