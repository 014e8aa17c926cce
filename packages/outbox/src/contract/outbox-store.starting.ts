import { expect, it, vi } from 'vitest';
import { SEQUENCE_HEADER, SEQUENCE_START_HEADER } from '../message-headers.js';
import type { OutboxDelivery, OutboxRecord } from '../outbox-store.js';
import { type Bench, headersOf } from './outbox-store.bench.js';

const startsOf = (deliveries: readonly OutboxDelivery[]) => headersOf(deliveries, SEQUENCE_START_HEADER);
const inOrder = (values: readonly unknown[]): unknown[] =>
  [...values].sort((a, b) => String(a).localeCompare(String(b)));
const sequencesOf = (deliveries: readonly OutboxDelivery[]) => headersOf(deliveries, SEQUENCE_HEADER);
const numberOf = (sequence: string | undefined) => Number(sequence?.split('.')[1]);

/** Where a consumer begins in the keys that are older than its subscription. */
export function starting(bench: Bench): void {
  const strict = (key = 'a'): OutboxRecord => bench().record({ key, strict: true });
  const claimFor = async (consumer: string, redeliverAfterMs?: number): Promise<OutboxDelivery[]> => {
    const { deliveries } = await bench().claim(500, redeliverAfterMs);
    return deliveries.filter((delivery) => delivery.consumer === consumer);
  };

  const subscribedBefore = (...consumers: string[]): Promise<void> => subscribedBeforeAll(bench, consumers);

  it('tells a consumer nothing of where it begins in a key that is younger than its subscription', async () => {
    await subscribedBefore('points');
    await bench().append(strict());
    expect(startsOf(await claimFor('points'))).toEqual([undefined]);
  });

  it('begins with the first message that was not routed yet', async () => {
    await bench().append(strict(), strict(), strict('b'), bench().record({ key: 'a' }));
    await bench().subscribe('points');
    await bench().append(strict());
    const deliveries = await claimFor('points', 0);
    const [one, two, ofB, loose, three] = sequencesOf(deliveries);
    expect([one, two, three].map(numberOf)).toEqual([1, 2, 3]);
    expect(loose).toBeUndefined();
    expect(startsOf(deliveries)).toEqual([one, one, ofB, undefined, one]);
    expect(inOrder(startsOf(await bench().overdue()))).toEqual(inOrder([one, one, one, ofB, undefined]));
  });

  it('begins with the first message that was parked', async () => {
    await bench().append(strict(), strict());
    await bench().claim();
    await bench().append(strict());
    await bench().subscribe('points');
    const overdue = await bench().overdue();
    const [one] = sequencesOf(overdue);
    expect(numberOf(one)).toBe(1);
    expect(startsOf(overdue)).toEqual([one, one]);
    expect(startsOf(await claimFor('points'))).toEqual([one]);
  });

  it('begins behind what others have been given, also where nothing waits', async () => {
    await subscribedBefore('old');
    const given = await bench().append(strict(), strict(), strict('quiet'));
    await bench().claim();
    await bench().acknowledge(given, 'old');
    await bench().append(strict());
    await bench().subscribe('new');
    await bench().append(strict(), strict('quiet'));
    const { deliveries } = await bench().claim();
    const ofNew = deliveries.filter(({ consumer }) => consumer === 'new');
    const [three, four, quiet] = sequencesOf(ofNew);
    expect([three, four, quiet].map(numberOf)).toEqual([3, 4, 2]);
    expect(startsOf(ofNew)).toEqual([three, three, quiet]);
    const ofOld = deliveries.filter(({ consumer }) => consumer === 'old');
    expect(startsOf(ofOld)).toEqual([undefined, undefined, undefined]);
  });

  it('begins where it does also when a later message of the key is routed first', async () => {
    const another = (shard: number): OutboxRecord => bench().record({ key: 'a', strict: true, shard });
    const claim = (shard: number, limit = 500) =>
      bench().store.claim({ fromShard: shard, toShard: shard, limit, redeliverAfterMs: 60_000 });
    await bench().append(another(3), another(3));
    await bench().subscribe('points');
    await bench().append(another(1), another(5));
    const later = [...(await claim(5)).deliveries, ...(await claim(1)).deliveries];
    const earlier = [...(await claim(3, 1)).deliveries, ...(await claim(3)).deliveries];
    expect(sequencesOf([...earlier, ...later]).map(numberOf)).toEqual([1, 2, 4, 3]);
    expect(startsOf([...earlier, ...later]).map(numberOf)).toEqual([1, 1, 1, 1]);
  });

  it('begins with a message that is left, where a later one of its key was parked', async () => {
    await bench().append(bench().record({ key: 'a', strict: true, shard: 3 }), strict());
    await bench().claim();
    await bench().subscribe('points');
    const overdue = await bench().overdue();
    expect([sequencesOf(overdue).map(numberOf), startsOf(overdue).map(numberOf)]).toEqual([[2], [1]]);
    const { deliveries } = await bench().store.claim({ fromShard: 3, toShard: 3, limit: 5, redeliverAfterMs: 60_000 });
    expect([sequencesOf(deliveries).map(numberOf), startsOf(deliveries).map(numberOf)]).toEqual([[1], [1]]);
  });

  it('begins with what was drawn before the subscription and committed after it', async () => {
    await bench().append(strict());
    await bench().subscribe('old');
    await bench().claim();
    await bench().transaction(async (tx) => {
      await bench().store.append(tx, [strict(), strict('b')]);
      await bench().subscribe('new');
    });
    await bench().append(strict(), strict('b'));
    const ofNew = await claimFor('new');
    expect(sequencesOf(ofNew).map(numberOf)).toEqual([2, 1, 3, 2]);
    const [two, b1, three, b2] = startsOf(ofNew);
    expect([two, three].map(numberOf)).toEqual([2, 2]);
    // To begin with 1 is what it does without being told.
    expect([b1 ?? 'g.1', b2 ?? 'g.1'].map(numberOf)).toEqual([1, 1]);
  });

  it('is subscribed as soon where 20 000 keys are known as where 10 are', async () => {
    const keys = (from: number, count: number): OutboxRecord[] =>
      Array.from({ length: count }, (_, index) => strict(`key${from + index}`));
    const draw = async (from: number, count: number): Promise<void> => {
      const ids = await bench().append(...keys(from, count));
      while ((await bench().claim()).messages > 0);
      await bench().acknowledge(ids, 'old');
    };
    const subscribing = async (consumer: string): Promise<number> => {
      const begun = performance.now();
      await bench().subscribe(consumer);
      const tookMs = performance.now() - begun;
      await bench().store.operations.retire({ topic: bench().topic, consumer });
      return tookMs;
    };
    const quickestOf = async (name: string): Promise<number> => {
      const times: number[] = [];
      for (let round = 0; round < 3; round += 1) times.push(await subscribing(`${name}${round}`));
      return Math.min(...times);
    };
    await bench().subscribe('old');
    await draw(0, 10);
    const withFew = await quickestOf('few');
    for (let from = 10; from < 20_000; from += 500) await draw(from, 500);
    const withMany = await quickestOf('many');
    expect(withMany).toBeLessThan(Math.max(5 * withFew, 50));
    await bench().subscribe('new');
    await bench().append(strict('key15000'));
    expect(startsOf(await claimFor('new')).map(numberOf)).toEqual([2]);
  }, 60_000);

  it('begins anew where a consumer was retired and subscribes again', async () => {
    await bench().append(strict());
    await bench().subscribe('points', 'stock');
    await bench().claim();
    await bench().store.operations.retire({ topic: bench().topic, consumer: 'points' });
    await bench().append(strict());
    await bench().claim();
    await bench().append(strict());
    await bench().subscribe('points');
    const deliveries = await claimFor('points');
    expect(sequencesOf(deliveries).map(numberOf)).toEqual([3]);
    expect(startsOf(deliveries)).toEqual(sequencesOf(deliveries));
  });

  it('stays where it is when the consumer subscribes once more', async () => {
    await bench().append(strict());
    await bench().subscribe('points');
    await bench().claim();
    await bench().subscribe('points', 'stock');
    await bench().append(strict());
    expect(startsOf(await claimFor('points')).map(numberOf)).toEqual([1]);
  });

  it('is forgotten with the counter of its key', async () => {
    const { operations } = bench().store;
    const [id = ''] = await bench().append(strict());
    await bench().subscribe('points');
    expect(startsOf(await claimFor('points')).map(numberOf)).toEqual([1]);
    await bench().acknowledge([id], 'points');
    await vi.waitFor(async () => expect(await operations.purgeSequences(5)).toBe(1));
    await bench().append(strict());
    expect(startsOf(await claimFor('points'))).toEqual([undefined]);
  });

  it('leaves nothing out for who subscribes while others claim', async () => {
    for (let round = 0; round < 8; round += 1) {
      const key = `key${round}`;
      const consumer = `new${round}`;
      await bench().subscribe('old');
      await bench().append(...Array.from({ length: 30 }, () => strict(key)));
      const claims = Array.from({ length: 4 }, () => bench().claim(5));
      const asked = await Promise.all([...claims, bench().subscribe(consumer), bench().claim(5), bench().claim(5)]);
      const later = await bench().claim();
      const deliveries = [...asked.flatMap((claimed) => claimed?.deliveries ?? []), ...later.deliveries]
        .filter((delivery) => delivery.consumer === consumer)
        .sort((a, b) => numberOf(sequencesOf([a])[0]) - numberOf(sequencesOf([b])[0]));
      const first = sequencesOf(deliveries)[0];
      const expected = Array.from({ length: deliveries.length }, (_, index) => numberOf(first) + index);
      expect(sequencesOf(deliveries).map(numberOf)).toEqual(expected);
      if (deliveries.length > 0) expect(expected.at(-1)).toBe(30);
      expect(new Set(startsOf(deliveries))).toEqual(new Set(deliveries.length > 0 ? [first] : []));
    }
  });
}

/** What is appended after that is of a later millisecond. */
export async function subscribedBeforeAll(bench: Bench, consumers: readonly string[]): Promise<void> {
  await bench().subscribe(...consumers);
  const at = performance.now();
  await vi.waitFor(() => expect(performance.now() - at).toBeGreaterThan(2), { interval: 1 });
}
