import { randomBytes } from 'node:crypto';
import { expect, it, vi } from 'vitest';
import { NO_CONSUMER } from '../outbox-store.js';
import { type Bench, idsOf, routedTo } from './outbox-store.bench.js';

export function delivering(bench: Bench): void {
  it('gives out again what was not acknowledged in time, and counts', async () => {
    await bench().subscribe('points');
    const ids = await bench().appendMany(3);
    await bench().claim(500, 150);
    expect(await bench().overdue(500, 150)).toEqual([]);
    await vi.waitFor(async () => {
      const overdue = await bench().overdue(500, 150);
      expect(idsOf(overdue)).toEqual(ids);
      expect(overdue.map(({ deliveries, consumer }) => [deliveries, consumer])).toEqual(ids.map(() => [2, 'points']));
    });
    const again = performance.now();
    await vi.waitFor(async () => expect(await bench().overdue(500, 150)).toHaveLength(3), { interval: 20 });
    expect(performance.now() - again).toBeGreaterThan(200);
  });

  it('gives an overdue delivery to one of two that ask at the same time', async () => {
    await bench().subscribe('points');
    await bench().appendMany(60);
    await bench().claim(500, 0);
    const asked = await Promise.all([bench().overdue(25), bench().overdue(25), bench().overdue(25)]);
    const ids = asked.flatMap(idsOf);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length + (await bench().overdue()).length).toBe(60);
  });

  it('ends a delivery with its acknowledgement, for that consumer alone, however often it comes', async () => {
    await bench().subscribe('points', 'stock');
    const ids = await bench().appendMany(2);
    await bench().claim(500, 0);
    await bench().acknowledge(ids, 'points');
    await bench().acknowledge(ids, 'points');
    await bench().acknowledge(ids, 'nobody');
    const overdue = await bench().overdue();
    expect(routedTo(overdue)).toEqual(['stock', 'stock']);
    expect(idsOf(overdue)).toEqual(ids);
  });

  it('ignores an acknowledgement that comes before the message was claimed', async () => {
    await bench().subscribe('points');
    const ids = await bench().appendMany(1);
    await bench().acknowledge(ids, 'points');
    expect(idsOf((await bench().claim()).deliveries)).toEqual(ids);
  });

  it('mentions a parked message now and then, as long as nobody subscribes', async () => {
    await bench().appendMany(1);
    await bench().claim(500, 0);
    expect(routedTo(await bench().overdue())).toEqual([NO_CONSUMER]);
    expect(await bench().overdue()).toEqual([]);
  });

  it('reaches a consumer once, however often it subscribes', async () => {
    await bench().subscribe('points');
    await bench().subscribe('points');
    await bench().appendMany(1);
    expect(routedTo((await bench().claim()).deliveries)).toEqual(['points']);
  });

  it('knows how old its oldest messages are, and how many there are', async () => {
    await bench().appendMany(2);
    await bench().claim();
    await bench().subscribe('points');
    await bench().appendMany(3);
    await bench().claim(1);
    const facts = await vi.waitFor(async () => {
      const found = await bench().store.operations.facts(1);
      expect(found.oldestPendingMs).toBeGreaterThan(20);
      return found;
    });
    expect(facts).toMatchObject({ pending: 2, inFlight: 3, dead: 0 });
    expect(facts.oldestInFlightMs).toBeGreaterThan(20);
    expect(facts.oldestParkedMs).toBeGreaterThanOrEqual(facts.oldestInFlightMs);
    expect(facts.oldestParkedMs).toBeLessThan(60_000);
  });

  it('knows nothing of age where nothing waits', async () => {
    expect(await bench().store.operations.facts(4)).toEqual({
      oldestPendingMs: 0,
      oldestInFlightMs: 0,
      oldestParkedMs: 0,
      oldestDueMs: 0,
      delayed: 0,
      pending: 0,
      inFlight: 0,
      dead: 0,
    });
  });
}

export function leasing(bench: Bench): void {
  const newName = () => `outbox:${randomBytes(5).toString('hex')}`;

  it('gives a shard to one owner at a time, and to the next one on release', async () => {
    const name = newName();
    const first = await bench().store.lease(name, 60_000);
    expect(first?.isHeld()).toBe(true);
    expect(await bench().store.lease(name, 60_000)).toBeUndefined();
    expect(await first?.renew()).toBe(true);
    await first?.release();
    expect(first?.isHeld()).toBe(false);
    expect((await bench().store.lease(name, 60_000))?.isHeld()).toBe(true);
  });

  it('takes a shard away from an owner that does not renew', async () => {
    const name = newName();
    const first = await bench().store.lease(name, 100);
    const second = await vi.waitFor(async () => {
      const lease = await bench().store.lease(name, 60_000);
      expect(lease).toBeDefined();
      return lease;
    });
    expect(first?.isHeld()).toBe(false);
    expect(await first?.renew()).toBe(false);
    await first?.release();
    expect(second?.isHeld()).toBe(true);
    expect(await bench().store.lease(name, 60_000)).toBeUndefined();
  });
}
