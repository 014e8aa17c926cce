import { expect, it, vi } from 'vitest';
import { SEQUENCE_HEADER } from '../message-headers.js';
import type { OutboxRecord } from '../outbox-store.js';
import { parseSequence, type Sequence } from '../sequence.js';
import { type Bench, type Carrier, headersOf } from './outbox-store.bench.js';

const SOON_MS = 5;

function sequencesOf(rows: readonly Carrier[], key: string): (Sequence | undefined)[] {
  const ofKey = rows.filter(({ message }) => message.key === key);
  return headersOf(ofKey, SEQUENCE_HEADER).map((text) => parseSequence(text));
}

const numbersOf = (rows: readonly Carrier[], key: string) => sequencesOf(rows, key).map((one) => one?.n);

export function ordering(bench: Bench): void {
  const strict = (key: string): OutboxRecord => bench().record({ key, strict: true });

  it('numbers the strict messages of a key 1, 2, 3 in one generation, and no others', async () => {
    await bench().subscribe('points');
    await bench().append(strict('a'), bench().record({ key: 'a' }), strict('b'), strict('a'));
    await bench().append(strict('b'), strict('a'));
    const { deliveries } = await bench().claim();
    expect(numbersOf(deliveries, 'a')).toEqual([1, undefined, 2, 3]);
    expect(numbersOf(deliveries, 'b')).toEqual([1, 2]);
    expect(new Set(sequencesOf(deliveries, 'b').map((one) => one?.generation)).size).toBe(1);
  });

  it('numbers the same key of another topic by itself', async () => {
    const topic = `${bench().topic}.other`;
    await bench().store.subscribe([{ topic, consumer: 'points' }]);
    await bench().subscribe('points');
    await bench().append(strict('a'), bench().record({ topic, key: 'a', strict: true }));
    const { deliveries } = await bench().claim();
    expect(numbersOf(deliveries, 'a')).toEqual([1, 1]);
  });

  it('leaves no gap where a transaction or a savepoint was rolled back', async () => {
    await bench().subscribe('points');
    await bench().append(strict('a'));
    const refused = bench().transaction(async (tx) => {
      await bench().store.append(tx, [strict('a'), strict('new')]);
      throw new Error('no');
    });
    await expect(refused).rejects.toThrow('no');
    await bench().transaction(async (tx) => {
      await bench().store.append(tx, [strict('a')]);
      const nested = tx.savepoint?.(async () => {
        await bench().store.append(tx, [strict('a'), strict('new')]);
        throw new Error('undo');
      });
      await expect(nested).rejects.toThrow('undo');
      await bench().store.append(tx, [strict('a'), strict('new')]);
    });
    const { deliveries } = await bench().claim();
    expect(numbersOf(deliveries, 'a')).toEqual([1, 2, 3]);
    expect(numbersOf(deliveries, 'new')).toEqual([1]);
  });

  it('gives a number that was rolled back to the writer of the key that waited', async () => {
    await bench().subscribe('points');
    const { first, refuse } = await new Promise<{ first: Promise<void>; refuse: () => void }>((drawn) => {
      const first: Promise<void> = bench().transaction(async (tx) => {
        await bench().store.append(tx, [strict('a')]);
        await new Promise<never>((_, reject) => drawn({ first, refuse: () => reject(new Error('no')) }));
      });
    });
    const second = bench().append(strict('a'));
    // Some round trips: the other one is at the counter by now.
    for (let trips = 0; trips < 5; trips += 1) await bench().store.operations.facts(1);
    refuse();
    await expect(first).rejects.toThrow('no');
    await second;
    await bench().append(strict('a'));
    expect(numbersOf((await bench().claim()).deliveries, 'a')).toEqual([1, 2]);
  });

  it('never gives one number to two writers at the same time, and numbers in the order of the outbox', async () => {
    await bench().subscribe('points');
    const refusal = new Error('no');
    const writers = Array.from({ length: 24 }, (_, index) =>
      bench().transaction(async (tx) => {
        await bench().store.append(tx, index % 3 === 0 ? [strict('a'), strict('a')] : [strict('a')]);
        if (index % 4 === 1) throw refusal;
      }),
    );
    const ends = await Promise.allSettled(writers);
    for (const end of ends) if (end.status === 'rejected') expect(end.reason).toBe(refusal);
    const numbers = numbersOf((await bench().claim()).deliveries, 'a');
    // 32 were drawn, and 8 of them by the six that refused.
    expect(numbers).toEqual(Array.from({ length: 24 }, (_, index) => index + 1));
  });

  it('does not let writers of the same keys in another order wait for each other for ever', async () => {
    await bench().subscribe('points');
    const writers = Array.from({ length: 20 }, (_, index) =>
      bench().append(...(index % 2 === 0 ? [strict('a'), strict('b')] : [strict('b'), strict('a')])),
    );
    await Promise.all(writers);
    const { deliveries } = await bench().claim();
    const expected = Array.from({ length: 20 }, (_, index) => index + 1);
    expect(numbersOf(deliveries, 'a').sort((a = 0, b = 0) => a - b)).toEqual(expected);
    expect(numbersOf(deliveries, 'b').sort((a = 0, b = 0) => a - b)).toEqual(expected);
  });

  it('keeps the counter of a key as long as the store holds a message of it, and begins a later generation after that', async () => {
    await bench().subscribe('points');
    const { operations } = bench().store;
    const [id = ''] = await bench().append(strict('a'));
    await vi.waitFor(async () => expect((await operations.facts(1)).oldestPendingMs).toBeGreaterThan(SOON_MS));
    expect(await operations.purgeSequences(SOON_MS)).toBe(0);
    const before = sequencesOf((await bench().claim()).deliveries, 'a');
    expect(await operations.purgeSequences(SOON_MS)).toBe(0);
    await bench().bury(id, 'points');
    expect(await operations.purgeSequences(SOON_MS)).toBe(0);
    await operations.discard([{ messageId: id, consumer: 'points' }]);
    await bench().acknowledge([id], 'points');
    expect(await operations.purgeSequences(60_000)).toBe(0);
    expect(await operations.purgeSequences(SOON_MS)).toBe(1);
    expect(await operations.purgeSequences(SOON_MS)).toBe(0);
    await bench().append(strict('a'));
    const [after] = sequencesOf((await bench().claim()).deliveries, 'a');
    expect(after?.n).toBe(1);
    expect(after?.generation).toBeGreaterThan(before[0]?.generation ?? Number.NaN);
  });
}
