import 'reflect-metadata';
import { NOTIFICATION_STORE, type NotificationStore } from '@lockstep/outbox/notifications';
import { eventually } from '@lockstep/testing';
import { describe, expect, it, vi } from 'vitest';
import { useDelivery } from './support/delivery-bench.js';
import { Gate, type Partner } from './support/partner.js';

describe('Slots for attempts', () => {
  const { newPartner, onPartner, send, start, startShop, untilState } = useDelivery();
  let partner: Partner;
  onPartner((started) => {
    partner = started;
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

  it('shares the work of two processes, and neither sends what the other does', async () => {
    const one = await startShop();
    await start();
    const ids: string[] = [];
    for (let n = 0; n < 40; n += 1) ids.push(await send(one));
    await eventually(() => expect(new Set(partner.ids())).toEqual(new Set(ids)));
    await eventually(async () => expect(await one.notifications.facts()).toMatchObject({ pending: 0 }));
    expect(partner.received).toHaveLength(40);
  });
});
