import { expect, it, vi } from 'vitest';
import { NO_CONSUMER, type Settlement } from '../outbox-store.js';
import { type Bench, idsOf, routedTo } from './outbox-store.bench.js';

export function appending(bench: Bench): void {
  it('gives out what was committed, as it was given and in its order', async () => {
    const { store, ...outbox } = bench();
    await bench().subscribe('points');
    const records = [
      bench().record({
        key: 'order:{1}/ü',
        payload: '{"amount":12345678901234567890,"nul":"\\u0000"}',
        headers: { a: 'ü☃' },
      }),
      bench().record(),
      bench().record(),
    ];
    const before = Date.now();
    await bench().append(...records);
    const { deliveries, messages } = await bench().claim();
    expect(messages).toBe(3);
    expect(idsOf(deliveries)).toEqual(idsOf(records));
    const [first] = deliveries;
    expect(first).toMatchObject({ consumer: 'points', awaitsAck: true, deliveries: 1, place: undefined });
    const { publishedAt, ...message } = first?.message ?? { publishedAt: 0 };
    expect(message).toEqual(records[0]?.message);
    expect(Math.abs(publishedAt - before)).toBeLessThan(60_000);
    expect(outbox.topic).toBe(first?.message.topic);
    expect(store).toBe(bench().store);
  });

  it('forgets what was appended in a transaction that rolls back', async () => {
    const failure = new Error('no');
    const attempt = bench().transaction(async (tx) => {
      await bench().store.append(tx, [bench().record()]);
      throw failure;
    });
    await expect(attempt).rejects.toBe(failure);
    expect((await bench().claim()).deliveries).toEqual([]);
  });

  it('forgets exactly what was appended in a savepoint that rolls back', async () => {
    const kept = [bench().record(), bench().record()];
    await bench().subscribe('points');
    await bench().transaction(async (tx) => {
      await bench().store.append(tx, kept.slice(0, 1));
      const nested = tx.savepoint?.(async () => {
        await bench().store.append(tx, [bench().record()]);
        throw new Error('undo');
      });
      await expect(nested).rejects.toThrow('undo');
      await bench().store.append(tx, kept.slice(1));
    });
    expect(idsOf((await bench().claim()).deliveries)).toEqual(idsOf(kept));
  });
}

export function claiming(bench: Bench): void {
  it('takes no more than the limit, and the next ones after that', async () => {
    await bench().subscribe('points');
    const ids = await bench().appendMany(5);
    expect(idsOf((await bench().claim(3)).deliveries)).toEqual(ids.slice(0, 3));
    expect(idsOf((await bench().claim(3)).deliveries)).toEqual(ids.slice(3));
    expect(await bench().claim(3)).toEqual({ deliveries: [], messages: 0 });
  });

  it('is not blocked by any number of messages that nobody acknowledges', async () => {
    await bench().subscribe('points');
    await bench().appendMany(520);
    for (const expected of [500, 20]) expect((await bench().claim()).messages).toBe(expected);
    const [late] = await bench().appendMany(1);
    expect(idsOf((await bench().claim()).deliveries)).toEqual([late]);
  });

  it('gives a message to one of two claims at the same time', async () => {
    await bench().subscribe('points');
    const ids = await bench().appendMany(60);
    const claims = await Promise.all([bench().claim(40), bench().claim(40), bench().claim(40)]);
    const claimed = claims.flatMap(({ deliveries }) => idsOf(deliveries));
    while ((await bench().claim()).messages > 0);
    expect(new Set(claimed).size).toBe(claimed.length);
    expect(ids).toEqual(expect.arrayContaining(claimed));
  });

  it('gives out each shard by itself', async () => {
    await bench().subscribe('points');
    const [mine] = await bench().append(bench().record({ shard: 3 }));
    expect((await bench().claim()).messages).toBe(0);
    const request = { fromShard: 2, toShard: 32_767, limit: 10, redeliverAfterMs: 60_000 };
    expect(idsOf((await bench().store.claim(request)).deliveries)).toEqual([mine]);
  });

  it('gives out only what stands behind a place, and everything in the shards after its own', async () => {
    await bench().subscribe('points');
    const ids = await bench().appendMany(4, false);
    const [other] = await bench().append(bench().record({ shard: 1, awaitsAck: false }));
    const claim = (limit: number, after?: string) =>
      bench().store.claim({ fromShard: 0, toShard: 7, limit, redeliverAfterMs: 60_000, ...(after && { after }) });
    const { deliveries, reached } = await claim(2);
    expect(idsOf(deliveries)).toEqual(ids.slice(0, 2));
    expect(reached).toBe(deliveries[1]?.place?.position);
    const behind = await claim(500, reached);
    expect(idsOf(behind.deliveries)).toEqual([...ids.slice(2), other]);
    expect(idsOf((await claim(500, behind.reached)).deliveries)).toEqual([other]);
    expect((await claim(500, behind.reached)).reached).toBeUndefined();
    expect(idsOf((await claim(500)).deliveries)).toEqual([...ids, other]);
  });

  it('does patiently what it does otherwise', async () => {
    const { store } = bench();
    await bench().subscribe('points');
    const patiently = { limit: 10, redeliverAfterMs: 0, redeliverAtMostMs: 60_000, patient: true };
    const claim = () => store.claim({ fromShard: 0, toShard: 0, ...patiently });
    expect((await claim()).messages).toBe(0);
    const ids = [...(await bench().appendMany(1)), ...(await bench().append(bench().record({ delayMs: 1 })))];
    await vi.waitFor(async () => expect(await store.promote(10, true)).toMatchObject({ promoted: 1 }));
    expect(idsOf((await claim()).deliveries)).toEqual(ids);
    expect((await claim()).messages).toBe(0);
    expect(idsOf(await store.overdue(patiently)).sort()).toEqual(ids);
  });

  it('delivers a message once to each consumer of its topic', async () => {
    await bench().subscribe('points', 'stock');
    const ids = await bench().appendMany(2);
    const { deliveries, messages } = await bench().claim();
    expect(messages).toBe(2);
    expect(routedTo(deliveries)).toEqual(['points', 'stock', 'points', 'stock']);
    expect(idsOf(deliveries)).toEqual([ids[0], ids[0], ids[1], ids[1]]);
  });

  it('keeps a message that awaits no acknowledgement until it is accepted', async () => {
    await bench().subscribe('points', 'stock');
    const ids = await bench().appendMany(2, false);
    await bench().claim();
    const { deliveries } = await bench().claim(1);
    expect(idsOf(deliveries)).toEqual([ids[0], ids[0]]);
    expect(deliveries[0]?.awaitsAck).toBe(false);
    const accepted = deliveries.flatMap(({ place }): Settlement[] =>
      place ? [{ outcome: 'accepted', ...place }] : [],
    );
    expect(accepted).toHaveLength(2);
    await bench().store.settle(accepted);
    expect(idsOf((await bench().claim(1)).deliveries)).toEqual([ids[1], ids[1]]);
    expect(await bench().overdue(10, 0)).toEqual([]);
  });

  it('moves in flight what is deferred, and goes on behind it', async () => {
    await bench().subscribe('points', 'stock');
    const ids = await bench().appendMany(2, false);
    const { deliveries } = await bench().claim(1);
    const deferred = deliveries.flatMap(({ place, consumer }): Settlement[] =>
      place ? [{ outcome: 'deferred', consumer, ...place }] : [],
    );
    await bench().store.settle(deferred);
    await bench().store.settle(deferred);
    expect(idsOf((await bench().claim(1)).deliveries)).toEqual([ids[1], ids[1]]);
    const overdue = await bench().overdue();
    expect(idsOf(overdue)).toEqual([ids[0], ids[0]]);
    expect(routedTo(overdue).sort()).toEqual(['points', 'stock']);
    expect(overdue.map(({ awaitsAck, place }) => [awaitsAck, place])).toEqual([
      [false, undefined],
      [false, undefined],
    ]);
  });

  it('parks a message whose topic has no consumer, and delivers it to those that come later', async () => {
    const ids = [...(await bench().appendMany(1)), ...(await bench().appendMany(1, false))];
    const claimed = await bench().claim();
    expect(routedTo(claimed.deliveries)).toEqual([NO_CONSUMER, NO_CONSUMER]);
    expect((await bench().claim()).messages).toBe(0);
    await bench().subscribe('points', 'stock');
    const overdue = await bench().overdue();
    expect(idsOf(overdue).sort()).toEqual([...ids, ...ids].sort());
    expect(routedTo(overdue).sort()).toEqual(['points', 'points', 'stock', 'stock']);
    expect(overdue.map(({ deliveries }) => deliveries)).toEqual([1, 1, 1, 1]);
    await bench().acknowledge(ids, 'points');
    await bench().acknowledge(ids, 'stock');
    expect((await bench().store.operations.facts(1)).inFlight).toBe(0);
  });

  it('delivers all that was parked, however little it gives out at a time', async () => {
    const ids = await bench().appendMany(7);
    await bench().claim();
    await bench().subscribe('points', 'stock');
    const seen: string[] = [];
    for (let calls = 0; calls < 7; calls += 1) {
      const overdue = await bench().overdue(2);
      expect(routedTo(overdue)).not.toContain(NO_CONSUMER);
      seen.push(...overdue.map(({ message, consumer }) => `${message.id}/${consumer}`));
    }
    expect(seen.sort()).toEqual(ids.flatMap((id) => [`${id}/points`, `${id}/stock`]).sort());
  });
}
