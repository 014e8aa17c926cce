import { expect, it, vi } from 'vitest';
import type { Attempt } from '../notification.js';
import { type Bench, idsOf } from './notification-store.bench.js';

const ATTEMPT: Attempt = { at: 1_767_225_600_000, durationMs: 12, status: 500, error: 'no \u0000 "☃"' };
const SILENT: Attempt = { at: 1_767_225_600_000, durationMs: 12, status: undefined, error: undefined };

export function appending(bench: Bench): void {
  it('gives out what was committed, as it was given', async () => {
    const body = '{"text":"ü☃ \\u0000","big":12345678901234567890}';
    const id = await bench().append({ body });
    const claimed = await bench().claimOne();
    expect(claimed).toMatchObject({ id, body, attempt: 1, attempts: [], url: undefined });
    expect(claimed.claimedAt).toBe(Math.floor(claimed.claimedAt));
    expect(Math.abs(claimed.claimedAt - (await bench().store.operations.clockMs()))).toBeLessThan(60_000);
  });

  it('forgets what was appended in a transaction that rolls back', async () => {
    const failure = new Error('no');
    const attempt = bench().transaction(async (tx) => {
      await bench().store.append(tx, bench().record());
      throw failure;
    });
    await expect(attempt).rejects.toBe(failure);
    expect(await bench().claim()).toEqual([]);
  });

  it('forgets exactly what was appended in a savepoint that rolls back', async () => {
    const kept = bench().record();
    await bench().transaction(async (tx) => {
      const nested = tx.savepoint?.(async () => {
        await bench().store.append(tx, bench().record());
        throw new Error('undo');
      });
      await expect(nested).rejects.toThrow('undo');
      await bench().store.append(tx, kept);
    });
    expect(idsOf(await bench().claim())).toEqual([kept.id]);
  });

  it('refuses an endpoint that nobody registered, and needs none for a url', async () => {
    expect(await bench().outcomeOf(bench().record({ endpoint: 'nobody' }))).toBe('unknown-endpoint');
    const url = 'https://shop.example/hook';
    await bench().append({ endpoint: 'url:1', url });
    expect(await bench().claim(10, 60_000, 'url:1')).toMatchObject([{ url }]);
    expect(await bench().lane('url:1')).toMatchObject({ url: undefined, secrets: [], isDisabled: false });
  });

  it('takes an id once, and tells a copy from another notification', async () => {
    const record = bench().record({ id: 'order-1-shipped' });
    expect(await bench().outcomeOf(record)).toBe('appended');
    expect(await bench().outcomeOf({ ...record, body: '{"timestamp":"later"}' })).toBe('duplicate');
    expect(await bench().outcomeOf({ ...record, type: 'order.paid' })).toBe('conflict');
    await bench().register('somebody-else');
    expect(await bench().outcomeOf({ ...record, endpoint: 'somebody-else' })).toBe('conflict');
    expect(idsOf(await bench().claim())).toEqual(['order-1-shipped']);
  });
}

export function claiming(bench: Bench): void {
  it('gives nothing out before it is due', async () => {
    const id = await bench().append({ delayMs: 300 });
    expect(await bench().claim()).toEqual([]);
    expect((await bench().lane())?.dueInMs).toBeGreaterThan(0);
    await vi.waitFor(async () => expect(idsOf(await bench().claim())).toEqual([id]), { timeout: 3_000, interval: 20 });
  });

  it('shows the endpoints that have something pending, the earliest due first, with what sending needs', async () => {
    await bench().register('quiet');
    await bench().register('later');
    await bench().append({ endpoint: 'later', delayMs: 60_000 });
    await bench().append({ delayMs: 60_000 });
    await bench().append();
    const lanes = await bench().store.lanes(10);
    expect(lanes.map(({ endpoint }) => endpoint)).toEqual([bench().endpoint, 'later']);
    const [first, later] = lanes;
    expect(first).toMatchObject({ url: 'https://partner.example/hook', isDisabled: false, isFailing: false });
    expect(first?.secrets).toHaveLength(1);
    expect(first?.dueInMs).toBeLessThanOrEqual(0);
    expect(later?.dueInMs).toBeGreaterThan(30_000);
    expect(await bench().store.lanes(1)).toHaveLength(1);
  });

  it('takes no more than the limit, the longest due first, and never of another endpoint', async () => {
    await bench().register('other');
    await bench().append({ endpoint: 'other' });
    const ids = [await bench().append(), await bench().append(), await bench().append()];
    expect(idsOf(await bench().claim(2))).toEqual(ids.slice(0, 2));
    expect(idsOf(await bench().claim(2))).toEqual(ids.slice(2));
    expect(await bench().claim(2)).toEqual([]);
  });

  it('never gives one notification to two who claim at the same time', async () => {
    for (let n = 0; n < 12; n += 1) await bench().append();
    const claims = await Promise.all(Array.from({ length: 6 }, () => bench().claim(4)));
    const ids = claims.flatMap(idsOf);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length + idsOf(await bench().claim(20)).length).toBe(12);
  });

  it('gives out again what is not settled within its lease, and then only the new owner settles it', async () => {
    const id = await bench().append();
    const first = await bench().claimOne(50);
    const second = await vi.waitFor(() => bench().claimOne(), { timeout: 3_000, interval: 20 });
    expect(second).toMatchObject({ id, attempt: 2 });
    expect(second.epoch).toBeGreaterThan(first.epoch);
    const late = { id, epoch: first.epoch, outcome: 'delivered' as const, attempts: [] };
    expect(await bench().store.settle(late)).toBe(false);
    expect(await bench().state(id)).toBe('pending');
    expect(await bench().store.settle({ ...late, epoch: second.epoch })).toBe(true);
    expect(await bench().state(id)).toBe('delivered');
  });
}

export function settling(bench: Bench): void {
  it('remembers a delivery with its attempts, once', async () => {
    const id = await bench().append();
    const { epoch } = await bench().claimOne();
    const attempts = [ATTEMPT, SILENT];
    expect(await bench().store.settle({ id, epoch, outcome: 'delivered', attempts })).toBe(true);
    expect(await bench().store.settle({ id, epoch, outcome: 'delivered', attempts })).toBe(false);
    const status = await bench().store.operations.find(id);
    expect(status).toMatchObject({
      id,
      state: 'delivered',
      reason: undefined,
      dueAt: undefined,
      type: 'order.shipped',
    });
    expect(status?.attempts).toEqual(attempts);
    expect(status?.finishedAt).toBeGreaterThanOrEqual(status?.createdAt ?? Number.NaN);
    expect(await bench().lane()).toBeUndefined();
  });

  it('brings a failed one back after its delay, with what came of the earlier attempts', async () => {
    const id = await bench().append();
    const { epoch } = await bench().claimOne();
    expect(await bench().store.settle({ id, epoch, outcome: 'retry', attempts: [ATTEMPT], delayMs: 200 })).toBe(true);
    expect(await bench().store.settle({ id, epoch, outcome: 'delivered', attempts: [] })).toBe(false);
    expect(await bench().claim()).toEqual([]);
    const again = await vi.waitFor(() => bench().claimOne(), { timeout: 3_000, interval: 20 });
    expect(again).toMatchObject({ id, attempt: 2, attempts: [ATTEMPT] });
  });

  it('gives back what was not attempted, at once and uncounted', async () => {
    const id = await bench().append();
    const { epoch } = await bench().claimOne();
    expect(await bench().store.settle({ id, epoch, outcome: 'released' })).toBe(true);
    const again = await bench().claimOne();
    expect(again).toMatchObject({ id, attempt: 1 });
    expect(again.epoch).toBeGreaterThan(epoch);
    expect(await bench().store.settle({ id, epoch, outcome: 'released' })).toBe(false);
  });

  it('cancels what is pending for a disabled endpoint, but not what somebody is sending', async () => {
    const [sending, first, second] = [await bench().append(), await bench().append(), await bench().append()];
    const [claimed] = await bench().claim(1);
    expect(claimed?.id).toBe(sending);
    expect(await bench().store.cancelPending(bench().endpoint, 'disabled', 10)).toBe(0);
    await bench().store.endpoints.disable(bench().endpoint, 'by hand');
    expect(await bench().store.cancelPending(bench().endpoint, 'disabled', 1)).toBe(1);
    expect(await bench().store.cancelPending(bench().endpoint, 'disabled', 10)).toBe(1);
    expect(await bench().store.cancelPending(bench().endpoint, 'disabled', 10)).toBe(0);
    for (const id of [first, second]) {
      expect(await bench().store.operations.find(id)).toMatchObject({ state: 'cancelled', reason: 'disabled' });
    }
    await bench().store.endpoints.enable(bench().endpoint);
    const later = await bench().append();
    expect(await bench().store.cancelPending(bench().endpoint, 'disabled', 10)).toBe(0);
    expect(await bench().state(later)).toBe('pending');
    const epoch = claimed?.epoch ?? 0;
    expect(await bench().store.settle({ id: sending, epoch, outcome: 'delivered', attempts: [] })).toBe(true);
  });
}
