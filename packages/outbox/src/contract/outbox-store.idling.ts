import { expect, it, vi } from 'vitest';
import { SEQUENCE_HEADER, SEQUENCE_START_HEADER } from '../message-headers.js';
import type { OutboxDelivery, OutboxRecord } from '../outbox-store.js';
import { parseSequence } from '../sequence.js';
import { type Bench, headersOf } from './outbox-store.bench.js';
import { subscribedBeforeAll } from './outbox-store.starting.js';

const SOON_MS = 5;

/** Keys that had no message for long, and whose counter cannot be forgotten because somebody still has one. */
export function idling(bench: Bench): void {
  const strict = (key = 'a'): OutboxRecord => bench().record({ key, strict: true });
  const loose = (key = 'a'): OutboxRecord => bench().record({ key });
  const subscribe = (...consumers: string[]): Promise<void> => subscribedBeforeAll(bench, consumers);
  const sweep = () => bench().store.operations.purgeSequences(SOON_MS);
  /** Until a sweep comes late enough to find the keys idle. */
  const sweptOf = (keys: number) => vi.waitFor(async () => expect(await sweep()).toBe(keys));
  /** What each consumer is given of the next message of the key: its number, and where it is told to begin. */
  const next = async (key = 'a'): Promise<Readonly<Record<string, unknown>>> => {
    await bench().append(strict(key));
    const { deliveries } = await bench().claim();
    return Object.fromEntries(deliveries.map((one) => [one.consumer, numbersOf(one)]));
  };

  it('tells a consumer that has none of an idle key to begin with its next message, while another one still has one', async () => {
    await subscribe('late', 'on-time');
    const [id = ''] = await bench().append(strict());
    await bench().claim();
    await bench().acknowledge([id], 'on-time');
    await bench().bury(id, 'late');
    await sweptOf(1);
    expect(await next()).toEqual({ 'on-time': [2, 2], late: [2, undefined] });
  });

  it('tells it further on when the key was used meanwhile and is idle again', async () => {
    await subscribe('late', 'on-time');
    const ids = await bench().append(strict(), strict());
    await bench().claim();
    for (const id of ids) await bench().bury(id, 'late');
    await bench().acknowledge(ids, 'on-time');
    await sweptOf(1);
    expect(await sweep()).toBe(0);
    const later = await bench().append(strict());
    await bench().claim();
    await bench().acknowledge(later, 'on-time');
    await sweptOf(1);
    expect(await next()).toEqual({ 'on-time': [4, 4], late: [4, undefined] });
  });

  it('tells nothing of a key that was used a while ago only', async () => {
    await subscribe('late', 'on-time');
    const [id = ''] = await bench().append(strict());
    await bench().claim();
    await bench().acknowledge([id], 'on-time');
    expect(await bench().store.operations.purgeSequences(60_000)).toBe(0);
    expect(await next()).toEqual({ 'on-time': [2, undefined], late: [2, undefined] });
  });

  it('tells nobody who still has one of the key himself, in flight or dead', async () => {
    await subscribe('dead', 'flying', 'on-time');
    const [first = '', second = ''] = await bench().append(strict(), strict());
    await bench().claim();
    await bench().acknowledge([first, second], 'on-time');
    await bench().acknowledge([first], 'flying');
    await bench().acknowledge([second], 'dead');
    await bench().bury(first, 'dead');
    await sweptOf(1);
    expect(await next()).toEqual({ 'on-time': [3, 3], flying: [3, undefined], dead: [3, undefined] });
  });

  it('tells nobody while a message of the key is pending, or parked, and not routed', async () => {
    await bench().append(strict('parked'));
    await bench().claim();
    await subscribe('on-time', 'late');
    await bench().append(strict('pending'));
    await vi.waitFor(async () =>
      expect((await bench().store.operations.facts(1)).oldestPendingMs).toBeGreaterThan(SOON_MS),
    );
    expect(await sweep()).toBe(0);
    const { deliveries } = await bench().claim();
    expect(deliveries.map(numbersOf)).toEqual([
      [1, undefined],
      [1, undefined],
    ]);
    expect((await bench().overdue()).map(numbersOf)).toEqual([
      [1, 1],
      [1, 1],
    ]);
  });

  it('leaves aside what is not strict: it neither keeps a counter nor holds back a start', async () => {
    await subscribe('late', 'on-time');
    const [id = '', plain = ''] = await bench().append(strict(), loose());
    const [only = ''] = await bench().append(strict('b'), loose('b'));
    await bench().claim();
    for (const consumer of ['late', 'on-time']) await bench().acknowledge([only], consumer);
    await bench().acknowledge([id], 'on-time');
    await bench().bury(plain, 'on-time');
    await vi.waitFor(async () => expect(await sweep()).toBe(2));
    expect(await next()).toEqual({ 'on-time': [2, 2], late: [2, undefined] });
    expect(await next('b')).toEqual({ 'on-time': [1, undefined], late: [1, undefined] });
  });

  it('never tells a consumer to begin behind a message that is published at the same time', async () => {
    await subscribe('late', 'on-time');
    for (let round = 0; round < 15; round += 1) {
      const key = `k${round}`;
      const [id = ''] = await bench().append(strict(key));
      await bench().claim();
      await bench().acknowledge([id], 'on-time');
      await vi.waitFor(async () =>
        expect((await bench().store.operations.facts(1)).oldestInFlightMs).toBeGreaterThan(SOON_MS),
      );
      await Promise.all([sweep(), bench().append(strict(key)), sweep(), bench().append(strict(key)), sweep()]);
      const { deliveries } = await bench().claim();
      const given = deliveries.filter(({ consumer }) => consumer === 'on-time').map(numbersOf);
      expect(given.map(([n]) => n)).toEqual([2, 3]);
      for (const [, start] of given) expect([undefined, 2]).toContain(start);
    }
  });
}

/** The number of a delivery, and that with which its consumer is told to begin. */
function numbersOf(delivery: OutboxDelivery): readonly (number | undefined)[] {
  return [SEQUENCE_HEADER, SEQUENCE_START_HEADER].map((name) => parseSequence(headersOf([delivery], name)[0])?.n);
}
