import { expect, it, vi } from 'vitest';
import { type Bench, idsOf } from './outbox-store.bench.js';

export function delaying(bench: Bench): void {
  const facts = () => bench().store.operations.facts(1);
  const untilDue = (overdueMs: number) =>
    vi.waitFor(async () => expect((await facts()).oldestDueMs).toBeGreaterThan(overdueMs), { interval: 10 });
  const delayed = (delayMs: number) => bench().record({ delayMs });

  it('gives out nothing before its delay has passed, and says when that will be', async () => {
    await bench().subscribe('points');
    const [id] = await bench().append(delayed(300));
    expect((await bench().claim()).messages).toBe(0);
    const { promoted, nextDueInMs } = await bench().store.promote(10);
    expect(promoted).toBe(0);
    expect(nextDueInMs).toBeGreaterThan(0);
    expect(nextDueInMs).toBeLessThanOrEqual(300);
    expect(await facts()).toMatchObject({ delayed: 1, oldestDueMs: 0, pending: 0 });
    await vi.waitFor(async () => expect((await bench().store.promote(10)).promoted).toBe(1));
    expect(await bench().store.promote(10)).toEqual({ promoted: 0, nextDueInMs: undefined });
    expect(idsOf((await bench().claim()).deliveries)).toEqual([id]);
    expect(await facts()).toMatchObject({ delayed: 0, oldestDueMs: 0 });
  });

  it('counts a delayed message as published from when it was due, not from when it was promoted', async () => {
    await bench().subscribe('points');
    await bench().append(bench().record(), delayed(20));
    await untilDue(200);
    await bench().store.promote(10);
    const [now, later] = (await bench().claim()).deliveries;
    const waitedMs = (later?.message.publishedAt ?? 0) - (now?.message.publishedAt ?? 0);
    expect(waitedMs).toBeGreaterThanOrEqual(19);
    expect(waitedMs).toBeLessThan(200);
  });

  it('promotes no more than the limit, in the order in which they are due, as they were given', async () => {
    await bench().subscribe('points');
    const records = [60, 20, 40].map((delayMs) =>
      bench().record({ delayMs, key: `k${delayMs}`, headers: { a: 'ü☃' }, awaitsAck: delayMs !== 40 }),
    );
    await bench().append(...records);
    await untilDue(60);
    expect(await bench().store.promote(2)).toEqual({ promoted: 2, nextDueInMs: 0 });
    expect(await bench().store.promote(2)).toEqual({ promoted: 1, nextDueInMs: undefined });
    const { deliveries } = await bench().claim();
    const inOrder = [records[1], records[2], records[0]];
    expect(deliveries.map(({ message }) => message)).toMatchObject(inOrder.map((record) => record?.message ?? {}));
    expect(deliveries.map(({ awaitsAck }) => awaitsAck)).toEqual([true, false, true]);
  });

  it('promotes a message once where two promote at the same time', async () => {
    await bench().subscribe('points');
    const ids = await bench().append(...Array.from({ length: 60 }, () => delayed(1)));
    await untilDue(5);
    const promotions = await Promise.all([20, 20, 20, 20].map((limit) => bench().store.promote(limit)));
    let total = promotions.reduce((sum, { promoted }) => sum + promoted, 0);
    for (;;) {
      const { promoted } = await bench().store.promote(20);
      if (promoted === 0) break;
      total += promoted;
    }
    expect(total).toBe(60);
    const claimed = idsOf((await bench().claim()).deliveries);
    expect(claimed).toHaveLength(60);
    expect(new Set(claimed)).toEqual(new Set(ids));
  });

  it('forgets a delayed message with its transaction, and with its savepoint', async () => {
    const refused = bench().transaction(async (tx) => {
      await bench().store.append(tx, [delayed(1)]);
      throw new Error('no');
    });
    await expect(refused).rejects.toThrow('no');
    expect((await facts()).delayed).toBe(0);
    await bench().transaction(async (tx) => {
      await bench().store.append(tx, [delayed(1)]);
      const nested = tx.savepoint?.(async () => {
        await bench().store.append(tx, [delayed(1)]);
        throw new Error('undo');
      });
      await expect(nested).rejects.toThrow('undo');
    });
    expect((await facts()).delayed).toBe(1);
  });

  it('does not give out again before its time what a consumer waits with', async () => {
    await bench().subscribe('points');
    const [id = ''] = await bench().appendMany(1);
    await bench().claim(500, 0);
    const begun = performance.now();
    await bench().store.settle([{ outcome: 'waiting', consumer: 'points', messageId: id, forMs: 250 }]);
    expect(await bench().overdue()).toEqual([]);
    await vi.waitFor(async () => expect(idsOf(await bench().overdue())).toEqual([id]), { interval: 20 });
    expect(performance.now() - begun).toBeGreaterThan(240);
  });

  it('gives out nothing earlier because a consumer waits with it, and ignores who waits with what is gone', async () => {
    await bench().subscribe('points');
    const [id = '', gone = ''] = await bench().appendMany(2);
    await bench().claim(500, 60_000);
    await bench().acknowledge([gone], 'points');
    const waiting = { outcome: 'waiting', consumer: 'points', forMs: 0 } as const;
    await bench().store.settle([id, gone].map((messageId) => ({ ...waiting, messageId })));
    expect(await bench().overdue()).toEqual([]);
    expect(await facts()).toMatchObject({ inFlight: 1, dead: 0 });
  });
}
