import { expect, it, vi } from 'vitest';
import type { NotificationState } from '../notification.js';
import type { Bench } from './notification-store.bench.js';

const WAIT = { timeout: 3_000, interval: 20 };
const HASH = 'ab'.repeat(32);

export function operating(bench: Bench): void {
  /** Appends one and finishes it. */
  const finished = async (outcome: 'delivered' | 'exhausted' | 'cancelled'): Promise<string> => {
    const id = await bench().append();
    const { epoch } = await bench().claimOne();
    const settlement = { id, epoch, attempts: [] };
    if (outcome === 'delivered') await bench().store.settle({ ...settlement, outcome });
    else await bench().store.settle({ ...settlement, outcome, reason: 'no more' });
    return id;
  };
  const replay = async (
    states: Exclude<NotificationState, 'pending'>[],
    range: { from?: number; to?: number } = {},
  ) => {
    const { operations } = bench().store;
    const finishedBefore = (await operations.clockMs()) + 1;
    const { from = 0, to = finishedBefore + 60_000 } = range;
    return operations.replay({ endpoint: bench().endpoint, from, to, states, finishedBefore, limit: 10 });
  };

  it('replays what was finished in a range of time, in the states that are asked for', async () => {
    const [exhausted, cancelled, delivered] = [
      await finished('exhausted'),
      await finished('cancelled'),
      await finished('delivered'),
    ];
    const { createdAt = 0 } = (await bench().store.operations.find(exhausted)) ?? {};
    expect(await replay(['exhausted', 'cancelled'], { to: createdAt })).toBe(0);
    expect(await replay(['exhausted', 'cancelled'])).toBe(2);
    expect(await bench().state(delivered)).toBe('delivered');
    const again = await bench().claim();
    expect(again.map(({ id }) => id).sort()).toEqual([exhausted, cancelled].sort());
    expect(again.map(({ attempt }) => attempt)).toEqual([1, 1]);
    for (const { epoch } of again) expect(epoch).toBeGreaterThan(1);
    expect(await bench().store.operations.find(exhausted)).toMatchObject({ reason: undefined, finishedAt: undefined });
    expect(await replay(['delivered'])).toBe(1);
  });

  it('does not replay what was finished after the replay began', async () => {
    const finishedBefore = (await bench().store.operations.clockMs()) - 60_000;
    await finished('delivered');
    const range = { endpoint: bench().endpoint, from: 0, to: finishedBefore + 120_000 };
    const request = { ...range, states: ['delivered' as const], finishedBefore, limit: 10 };
    expect(await bench().store.operations.replay(request)).toBe(0);
  });

  it('says how late the oldest is, and how many there are', async () => {
    expect(await bench().store.operations.facts()).toEqual({
      oldestDueMs: 0,
      pending: 0,
      exhausted: 0,
      disabledEndpoints: 0,
    });
    await finished('exhausted');
    await bench().register('gone');
    await bench().append({ endpoint: 'gone', delayMs: 0 });
    await bench().store.endpoints.gone(bench().seen({ endpoint: 'gone' }), 'answered 410');
    await bench().append();
    await bench().append({ delayMs: 60_000 });
    await vi.waitFor(async () => {
      const facts = await bench().store.operations.facts();
      expect(facts).toMatchObject({ pending: 3, exhausted: 1, disabledEndpoints: 1 });
      expect(facts.oldestDueMs).toBeGreaterThan(20);
      expect(facts.oldestDueMs).toBeLessThan(60_000);
    }, WAIT);
  });

  it('forgets what was finished long ago, and nothing that is pending', async () => {
    const [done, pending] = [await finished('delivered'), await bench().append()];
    expect(await bench().store.operations.purge(60_000)).toBe(0);
    await vi.waitFor(async () => expect(await bench().store.operations.purge(1)).toBe(1), WAIT);
    expect(await bench().store.operations.find(done)).toBeUndefined();
    expect(await bench().state(pending)).toBe('pending');
  });
}

export function receiving(bench: Bench): void {
  const receive = (receiver = 'shop', hash = HASH): Promise<boolean> =>
    bench().transaction((tx) => bench().store.receipts.receive(tx, receiver, hash));

  it('receives a webhook once, for each receiver', async () => {
    expect(await receive()).toBe(true);
    expect(await receive()).toBe(false);
    expect(await receive()).toBe(false);
    expect(await receive('bank')).toBe(true);
    expect(await receive('shop', HASH.replace('a', 'c'))).toBe(true);
  });

  it('has not received what was rolled back', async () => {
    const attempt = bench().transaction(async (tx) => {
      await bench().store.receipts.receive(tx, 'shop', HASH);
      throw new Error('no');
    });
    await expect(attempt).rejects.toThrow('no');
    expect(await receive()).toBe(true);
  });

  it('forgets what was received long ago', async () => {
    await receive();
    expect(await bench().store.receipts.purge(60_000)).toBe(0);
    await vi.waitFor(async () => expect(await bench().store.receipts.purge(1)).toBe(1), WAIT);
    expect(await receive()).toBe(true);
  });
}
