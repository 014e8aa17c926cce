import 'reflect-metadata';
import { eventually } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';
import { HOUR_MS, PATIENCE, useDelivery } from './support/delivery-bench.js';
import { Gate, type Partner, type Reaction } from './support/partner.js';

const statusOf = ({ status }: Reaction) => ({ status });

describe('An endpoint', () => {
  const { newPartner, onPartner, query, send, startShop, untilState } = useDelivery();
  let partner: Partner;
  onPartner((started) => {
    partner = started;
  });

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

  it('forgets that a partner fails when an attempt of the same time succeeds', async () => {
    const shop = await startShop({ schedule: [0] });
    const gate = new Gate();
    partner.react([{ after: gate.opened }, { status: 500 }]);
    const id = await send(shop);
    await eventually(() => expect(partner.received).toHaveLength(1));
    await untilState(shop, await send(shop), 'exhausted');
    await eventually(async () => expect((await shop.endpoints.find('shop'))?.failingSince).toBeDefined());
    gate.open();
    await untilState(shop, id, 'delivered');
    await eventually(async () => expect((await shop.endpoints.find('shop'))?.failingSince).toBeUndefined());
  });

  it('removes an endpoint with its secrets, and sends nothing there until it is registered anew', async () => {
    const shop = await startShop({ schedule: [0, HOUR_MS] });
    const gate = new Gate();
    partner.react([{ status: 500 }, { after: gate.opened, status: 500 }]);
    const waiting = await send(shop);
    await eventually(async () => expect((await shop.notifications.find(waiting))?.attempts).toHaveLength(1));
    const id = await send(shop);
    await eventually(() => expect(partner.received).toHaveLength(2));
    await expect(shop.endpoints.remove('shop')).rejects.toMatchObject({ code: 'NOTIFICATION_ENDPOINT_BUSY' });
    await untilState(shop, waiting, 'cancelled');
    gate.open();
    await eventually(() => shop.endpoints.remove('shop'), PATIENCE);
    await untilState(shop, id, 'cancelled');
    expect(await query('SELECT id FROM lockstep_notification_endpoint')).toMatchObject({ rows: [] });
    const unknown = { code: 'NOTIFICATION_ENDPOINT_UNKNOWN' };
    await expect(send(shop)).rejects.toMatchObject(unknown);
    await expect(shop.endpoints.remove('shop')).rejects.toMatchObject(unknown);
    const range = { from: new Date(0), to: new Date(Date.now() + HOUR_MS) };
    await expect(shop.notifications.replay({ endpoint: 'shop', ...range })).rejects.toMatchObject(unknown);
    await shop.endpoints.register({ id: 'shop', url: partner.url });
    expect(await shop.notifications.replay({ endpoint: 'shop', ...range })).toBe(2);
    for (const each of [id, waiting]) await untilState(shop, each, 'delivered');
  });

  it('fails, and remembers nothing, where the endpoint was removed before the sender has committed', async () => {
    const shop = await startShop({ schedule: [0] });
    let id = '';
    await shop.sql.transaction(async () => {
      id = await shop.notifications.send({ endpoint: 'shop', type: 'order.shipped', data: {} });
      await query('DELETE FROM lockstep_notification_endpoint');
    });
    expect(await untilState(shop, id, 'exhausted')).toMatchObject({ reason: 'the endpoint was removed' });
    expect(await shop.endpoints.list()).toEqual([]);
  });
});
