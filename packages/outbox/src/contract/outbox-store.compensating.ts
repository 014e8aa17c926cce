import { expect, it, vi } from 'vitest';
import { failureNoticeId, failureNoticeOf } from '../failure-notice.js';
import {
  COMPENSATOR_HEADER,
  DURABILITY_HEADER,
  FAILED_TOPIC,
  ORIGIN_HEADER,
  SEQUENCE_HEADER,
  SKIP_HEADER,
} from '../message-headers.js';
import type { OutboxRecord } from '../outbox-store.js';
import { type Bench, idsOf } from './outbox-store.bench.js';

/** Who is told of what was given up, and how a key goes on behind it. */
export function compensating(bench: Bench): void {
  const compensated = (init: Parameters<ReturnType<Bench>['record']>[0] = {}): OutboxRecord =>
    bench().record({ key: 'k', headers: { [COMPENSATOR_HEADER]: 'refund', [ORIGIN_HEADER]: 'mall' }, ...init });
  const strict = (): OutboxRecord => bench().record({ key: 'k', strict: true });
  const notices = async () => (await bench().overdue()).filter(({ message }) => message.topic === FAILED_TOPIC);

  it('tells the compensator of a message that was given up, until it acknowledges', async () => {
    await bench().subscribe('points');
    const record = compensated({ payload: '{"text":"ü☃ \\" \\u0000"}' });
    const [id = ''] = await bench().append(record);
    await bench().claim();
    await bench().bury(id, 'points', 'out of "stock" \u0000\n');
    const [notice, ...others] = await bench().overdue(500, 0);
    expect(others).toEqual([]);
    const expected = failureNoticeOf(record.message, 'points', 'out of "stock" \n')?.message;
    expect(notice).toMatchObject({ consumer: 'refund', awaitsAck: true, deliveries: 1 });
    const { payload = '', publishedAt = 0, ...message } = notice?.message ?? {};
    expect({ ...message, payload: JSON.parse(payload) }).toEqual({
      ...expected,
      payload: JSON.parse(expected?.payload ?? ''),
    });
    expect(Math.abs(publishedAt - Date.now())).toBeLessThan(60_000);
    expect(idsOf(await bench().overdue(500, 60_000))).toEqual([failureNoticeId(id, 'points')]);
    await bench().acknowledge([failureNoticeId(id, 'points')], 'refund');
    expect((await bench().store.operations.facts(1)).inFlight).toBe(0);
  });

  it('tells it once, however often the message is given up', async () => {
    await bench().subscribe('points', 'stock');
    const [id = ''] = await bench().append(compensated());
    await bench().claim();
    for (let times = 0; times < 3; times += 1) await bench().bury(id, 'points');
    const first = await notices();
    expect(idsOf(first)).toEqual([failureNoticeId(id, 'points')]);
    await bench().acknowledge(idsOf(first), 'refund');
    await bench().bury(id, 'points');
    expect(await notices()).toEqual([]);
    await bench().bury(id, 'stock');
    expect(idsOf(await notices())).toEqual([failureNoticeId(id, 'stock')]);
  });

  it('tells it of a message that awaited no acknowledgement, too', async () => {
    const message = { ...compensated().message, publishedAt: 1_767_225_600_123 };
    const settlement = { outcome: 'dead', consumer: 'points', messageId: message.id, error: 'no', message } as const;
    await bench().store.settle([settlement]);
    expect(idsOf(await notices())).toEqual([failureNoticeId(message.id, 'points')]);
    await bench().store.settle([settlement]);
    expect(await notices()).toEqual([]);
  });

  it('tells nobody where the message names no compensator, whatever its headers say', async () => {
    await bench().subscribe('points');
    const quoted = bench().record({ headers: { a: COMPENSATOR_HEADER, b: `"${COMPENSATOR_HEADER}":"x"` } });
    const ids = await bench().append(bench().record(), quoted);
    await bench().claim();
    for (const id of ids) await bench().bury(id, 'points');
    expect((await bench().store.operations.facts(1)).dead).toBe(2);
    expect(await bench().overdue()).toEqual([]);
  });

  it('lets a consumer pass over a strict message that was given up, and no other', async () => {
    await bench().subscribe('points');
    const quoted = { key: 'k', headers: { a: SEQUENCE_HEADER } };
    const ids = await bench().append(strict(), strict(), bench().record({ key: 'k' }), bench().record(quoted));
    await bench().claim();
    for (const id of ids) await bench().bury(id, 'points');
    const { operations } = bench().store;
    const letters = ids.map((messageId) => ({ messageId, consumer: 'points' }));
    expect(await operations.replay(letters.slice(1, 2))).toBe(1);
    expect(await operations.skip(letters)).toBe(1);
    expect(await operations.skip(letters)).toBe(0);
    expect(idsOf(await operations.deadLetters({ limit: 10 }))).toEqual(ids.slice(2));
    const overdue = await bench().overdue();
    expect(idsOf(overdue)).toEqual(ids.slice(0, 2));
    const [skipped, replayed] = overdue;
    expect(skipped).toMatchObject({ consumer: 'points', awaitsAck: true, deliveries: 1 });
    expect(skipped?.message.headers).toMatchObject({ [SKIP_HEADER]: '1', [SEQUENCE_HEADER]: expect.any(String) });
    expect(replayed?.message.headers[SKIP_HEADER]).toBeUndefined();
  });

  it('lets the successors of a strict message go on when it is discarded, and drops it where its consumer was retired', async () => {
    await bench().subscribe('points', 'stock');
    const [first = '', plain = ''] = await bench().append(strict(), bench().record({ key: 'k' }));
    await bench().claim();
    for (const id of [first, plain]) for (const consumer of ['points', 'stock']) await bench().bury(id, consumer);
    const { operations } = bench().store;
    await operations.retire({ topic: bench().topic, consumer: 'stock' });
    const letters = [first, plain].flatMap((messageId) =>
      ['points', 'stock'].map((consumer) => ({ messageId, consumer })),
    );
    expect(await operations.discard(letters)).toBe(4);
    expect(await operations.discard(letters)).toBe(0);
    expect(await operations.deadLetters({ limit: 10 })).toEqual([]);
    const overdue = await bench().overdue();
    expect(overdue).toMatchObject([{ consumer: 'points', awaitsAck: true, message: { id: first } }]);
    expect(overdue[0]?.message.headers).toMatchObject({ [SKIP_HEADER]: '1', [SEQUENCE_HEADER]: expect.any(String) });
  });

  it('never purges a strict message that holds up its key, however long it has been dead', async () => {
    await bench().subscribe('points');
    const old = { id: '018cc251-f400-7000-8000-000000000001', key: 'k', strict: true };
    const [held = '', plain = ''] = await bench().append(
      bench().record(old),
      bench().record({ id: '018cc251-f400-7000-8000-000000000002', key: 'k' }),
    );
    await bench().claim();
    for (const id of [held, plain]) await bench().bury(id, 'points');
    const { operations } = bench().store;
    await vi.waitFor(async () => expect(await operations.purge(1)).toBe(1));
    expect(idsOf(await operations.deadLetters({ limit: 10, blocking: true }))).toEqual([held]);
    await operations.retire({ topic: bench().topic, consumer: 'points' });
    expect(await operations.purge(1)).toBe(1);
  });

  it('finds dead letters by their topic, and those that hold up their key', async () => {
    const other = `${bench().topic}.other`;
    await bench().store.subscribe([{ topic: other, consumer: 'points' }]);
    await bench().subscribe('points');
    const quoted = bench().record({ headers: { a: SEQUENCE_HEADER } });
    const ids = await bench().append(strict(), bench().record(), bench().record({ topic: other }), quoted);
    await bench().claim();
    for (const id of ids) await bench().bury(id, 'points');
    const { operations } = bench().store;
    expect(idsOf(await operations.deadLetters({ limit: 10, topic: other }))).toEqual(ids.slice(2, 3));
    expect(idsOf(await operations.deadLetters({ limit: 10, blocking: true }))).toEqual(ids.slice(0, 1));
    expect(await operations.deadLetters({ limit: 10, blocking: true, topic: other })).toEqual([]);
    expect(await operations.deadLetters({ limit: 10, consumer: 'stock', topic: other })).toEqual([]);
  });

  it('awaits the acknowledgement of what is delivered anew, also of a message that awaited none', async () => {
    await bench().subscribe('points');
    const loose = bench().record({ awaitsAck: false, headers: { [DURABILITY_HEADER]: 'on-accept', a: 'b' } });
    const [id = ''] = await bench().append(loose);
    const { message } = loose;
    const dead = { outcome: 'dead', consumer: 'points', messageId: id, error: 'poison' } as const;
    const [claimed] = (await bench().claim()).deliveries;
    await bench().store.settle([
      { ...dead, message: { ...message, publishedAt: claimed?.message.publishedAt ?? 0 } },
      { outcome: 'accepted', shard: claimed?.place?.shard ?? 0, position: claimed?.place?.position ?? '' },
    ]);
    expect(await bench().store.operations.replay([{ messageId: id, consumer: 'points' }])).toBe(1);
    const [again] = await bench().overdue();
    // The consumer looks at the header: without it, the row would be delivered again and again and never acknowledged.
    expect(again).toMatchObject({ awaitsAck: true, message: { id } });
    expect(again?.message.headers).toEqual({ [DURABILITY_HEADER]: 'until-ack', a: 'b' });
  });

  it('tells no compensator that a consumer was retired, which has not failed', async () => {
    await bench().subscribe('points');
    await bench().append(compensated());
    await bench().claim(500, 0);
    expect(await bench().store.operations.retire({ topic: bench().topic, consumer: 'points' })).toBe(1);
    expect((await bench().store.operations.facts(1)).dead).toBe(1);
    expect(await notices()).toEqual([]);
  });
}
