import { expect, it } from 'vitest';
import { SEQUENCE_HEADER, SKIP_HEADER } from '../message-headers.js';
import type { DeadLetter } from '../outbox-store.js';
import { type Bench, headersOf, idsOf } from './outbox-store.bench.js';

export function burying(bench: Bench): void {
  const deadLetters = (limit = 100): Promise<readonly DeadLetter[]> => bench().store.operations.deadLetters({ limit });

  it('keeps a delivery that was given up as a dead letter, with its message and the reason', async () => {
    await bench().subscribe('points', 'stock');
    const record = bench().record({ key: 'k', headers: { a: 'b' } });
    const [id = ''] = await bench().append(record);
    await bench().claim(500, 0);
    await bench().bury(id, 'points', `poison \u0000 ${'x'.repeat(5_000)}`);
    const [letter, ...others] = await deadLetters();
    expect(others).toEqual([]);
    expect(letter).toMatchObject({ messageId: id, consumer: 'points', message: record.message });
    expect(letter?.error).toMatch(/^poison/);
    expect(letter?.error.length).toBeLessThanOrEqual(2_000);
    expect(Math.abs((letter?.failedAt ?? 0) - Date.now())).toBeLessThan(60_000);
    expect((await bench().overdue()).map(({ consumer }) => consumer)).toEqual(['stock']);
  });

  it('makes no dead letter of what was acknowledged, or is dead already', async () => {
    await bench().subscribe('points');
    const [done = '', dead = ''] = await bench().appendMany(2);
    await bench().claim();
    await bench().acknowledge([done], 'points');
    await bench().bury(done, 'points');
    await bench().bury(dead, 'points', 'first');
    await bench().bury(dead, 'points', 'second');
    expect((await deadLetters()).map(({ messageId, error }) => [messageId, error])).toEqual([[dead, 'first']]);
  });

  it('makes a dead letter of a message that awaited no acknowledgement from what it is given', async () => {
    const message = { ...bench().record({ key: 'k' }).message, publishedAt: 1_767_225_600_123 };
    const settlement = { outcome: 'dead', consumer: 'points', messageId: message.id, error: 'no', message } as const;
    await bench().store.settle([settlement]);
    await bench().store.settle([settlement]);
    expect((await deadLetters()).map((letter) => letter.message)).toEqual([message]);
  });

  it('delivers a dead letter anew when it is replayed, until it is acknowledged', async () => {
    await bench().subscribe('points');
    const [id = ''] = await bench().appendMany(1);
    await bench().claim();
    await bench().bury(id, 'points');
    const ids = [{ messageId: id, consumer: 'points' }];
    expect(await bench().store.operations.replay(ids)).toBe(1);
    expect(await bench().store.operations.replay(ids)).toBe(0);
    expect(await deadLetters()).toEqual([]);
    const overdue = await bench().overdue();
    expect(overdue).toMatchObject([{ consumer: 'points', awaitsAck: true, deliveries: 1 }]);
    await bench().acknowledge([id], 'points');
    expect((await bench().store.operations.facts(1)).inFlight).toBe(0);
  });

  it('pages through dead letters without leaving one out, and discards', async () => {
    await bench().subscribe('points', 'stock');
    const ids = await bench().appendMany(3);
    await bench().claim();
    for (const id of ids) for (const consumer of ['points', 'stock']) await bench().bury(id, consumer);
    const seen: DeadLetter[] = [];
    for (;;) {
      const last = seen.at(-1);
      const page = await bench().store.operations.deadLetters({ limit: 4, ...(last ? { after: last } : {}) });
      if (page.length === 0) break;
      seen.push(...page);
    }
    expect(seen).toHaveLength(6);
    expect([...new Set(idsOf(seen))]).toEqual(ids);
    const ofPoints = await bench().store.operations.deadLetters({ limit: 10, consumer: 'points' });
    expect(idsOf(ofPoints)).toEqual(ids);
    expect(await bench().store.operations.discard(ofPoints)).toBe(3);
    expect((await deadLetters()).map(({ consumer }) => consumer)).toEqual(['stock', 'stock', 'stock']);
  });

  it('purges dead letters by their age', async () => {
    await bench().subscribe('points');
    // 2024-01-01: the id of an old message; when it died decides, not when it was made.
    const [old = ''] = await bench().append(bench().record({ id: '018cc251-f400-7000-8000-000000000001' }));
    await bench().claim();
    await bench().bury(old, 'points');
    expect(await bench().store.operations.purge(60_000)).toBe(0);
    await expect.poll(() => bench().store.operations.purge(1)).toBe(1);
    expect(await deadLetters()).toEqual([]);
  });

  it('tells the age of what is in flight for a consumer without a subscription', async () => {
    await bench().subscribe('points');
    const [id = ''] = await bench().appendMany(1);
    await bench().claim();
    await bench().bury(id, 'points');
    const { operations } = bench().store;
    await operations.retire({ topic: bench().topic, consumer: 'points' });
    expect(await operations.replay([{ messageId: id, consumer: 'points' }])).toBe(1);
    await expect.poll(async () => (await operations.facts(1)).oldestInFlightMs).toBeGreaterThan(0);
    expect((await operations.facts(1)).oldestParkedMs).toBe(0);
  });

  it('keeps what was to be delivered to a consumer that is retired', async () => {
    await bench().subscribe('points', 'stock');
    const ids = await bench().appendMany(2);
    await bench().claim(500, 0);
    const route = { topic: bench().topic, consumer: 'stock' };
    expect(await bench().store.operations.retire(route)).toBe(2);
    expect(await bench().store.operations.retire(route)).toBe(0);
    expect((await deadLetters()).map(({ messageId, consumer }) => [messageId, consumer])).toEqual(
      ids.map((id) => [id, 'stock']),
    );
    await bench().appendMany(1);
    expect((await bench().claim()).deliveries.map(({ consumer }) => consumer)).toEqual(['points']);
  });

  /** Dead before it was claimed, and in flight after that. */
  const diedEarly = async (...numbers: number[]): Promise<{ messageId: string; consumer: string }[]> => {
    const headers = (n: number) => ({ [SEQUENCE_HEADER]: `1.${n}` });
    const records = numbers.map((n) => bench().record({ key: 'k', headers: headers(n) }));
    await bench().append(...records);
    const letters = records.map(({ message }) => ({ messageId: message.id, consumer: 'points' }));
    const settlements = records.map(({ message: { id, ...rest } }) => {
      const message = { id, ...rest, publishedAt: 1_767_225_600_123 };
      return { outcome: 'dead', consumer: 'points', messageId: id, error: 'no', message } as const;
    });
    await bench().store.settle(settlements);
    await bench().claim();
    return letters;
  };

  it('skips what is dead and in flight as well: it comes at once, and its consumer passes it over', async () => {
    await bench().subscribe('points');
    const letters = await diedEarly(1);
    expect(await bench().overdue()).toEqual([]);
    expect(await bench().store.operations.skip(letters)).toBe(1);
    const overdue = await bench().overdue();
    expect(headersOf(overdue, SKIP_HEADER)).toEqual(['1']);
    expect(headersOf(overdue, SEQUENCE_HEADER)).toEqual(['1.1']);
    expect(await deadLetters()).toEqual([]);
    await bench().acknowledge(idsOf(overdue), 'points');
    expect((await bench().store.operations.facts(1)).inFlight).toBe(0);
  });

  it('counts what a consumer that is retired had in flight, also where it is dead already', async () => {
    await bench().subscribe('points');
    await diedEarly(1, 2);
    const route = { topic: bench().topic, consumer: 'points' };
    expect(await bench().store.operations.retire(route)).toBe(2);
    expect(await bench().store.operations.retire(route)).toBe(0);
    expect(await deadLetters()).toHaveLength(2);
  });
}
