import { expect, it, vi } from 'vitest';
import { TOMBSTONE } from '../transactional/prepared-message-store.js';
import type { Prepared } from './prepared-message-store.bench.js';

export function checking(bench: Prepared): void {
  it('gives out a message for a check when it is due, oldest first, and again when the next check is due', async () => {
    const first = await bench().prepare({ checkEveryMs: 150 });
    const second = await bench().prepare({ checkEveryMs: 150 });
    await bench().prepare({ checkAfterMs: 60_000 });
    const both = [first.id, second.id];
    expect(await bench().due()).toEqual(both);
    expect(await bench().due()).toEqual([]);
    await vi.waitFor(async () => expect((await bench().due()).sort()).toEqual(both), { interval: 50 });
  });

  it('gives out what is not decided, and says which check is the last', async () => {
    const { id } = await bench().prepare({ checks: 2, checkEveryMs: 1, key: 'k' });
    const decided = await bench().prepare({ checkEveryMs: 1 });
    await bench().store.rollback(decided.id, 'prepared');
    const seen: boolean[] = [];
    await vi.waitFor(async () => {
      for (const { message, isLast } of await bench().store.due({ checker: TOMBSTONE, limit: 10 })) {
        expect(message).toMatchObject({ id, topic: 'paid', key: 'k', payload: '{"n":1}', headers: {} });
        seen.push(isLast);
      }
      expect(seen.length).toBeGreaterThanOrEqual(2);
    });
    expect(seen.slice(0, 2)).toEqual([false, true]);
  });

  it('gives a due message to one of several that ask at the same time', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 20; n += 1) ids.push((await bench().prepare()).id);
    const asked = (await Promise.all([bench().due(8), bench().due(8), bench().due(8)])).flat();
    expect(new Set(asked).size).toBe(asked.length);
    expect([...asked, ...(await bench().due())].sort()).toEqual(ids.sort());
  });

  it('leaves to others what they alone can check, without counting it', async () => {
    const mine = await bench().prepare({ checker: 'Bank.paid' });
    const theirs = await bench().prepare({ checker: 'Shop.sold' });
    expect(await bench().due(10, 'Bank.paid')).toEqual([mine.id]);
    expect(await bench().due(10, 'Shop.sold')).toEqual([theirs.id]);
    expect(await bench().due(10, 'Bank.paid')).toEqual([]);
  });

  it('names each checker that something is due for, and since when, until all of it is given out', async () => {
    const waiting = async () => new Map((await bench().store.waiting()).map((one) => [one.checker, one.dueSince]));
    expect(await waiting()).toEqual(new Map());
    for (const checker of ['Shop.sold', TOMBSTONE, 'Shop.sold', 'Bank.paid']) await bench().prepare({ checker });
    await bench().prepare({ checker: 'Later.paid', checkAfterMs: 60_000 });
    const before = await waiting();
    expect([...before.keys()].sort()).toEqual([TOMBSTONE, 'Bank.paid', 'Shop.sold']);
    expect(before.get('Bank.paid')).toBeGreaterThanOrEqual(before.get('Shop.sold') ?? Number.NaN);
    await bench().due(1, 'Bank.paid');
    await bench().due(1, 'Shop.sold');
    const after = await waiting();
    expect([...after.keys()].sort()).toEqual([TOMBSTONE, 'Shop.sold']);
    expect(after.get('Shop.sold')).toBeGreaterThanOrEqual(before.get('Shop.sold') ?? Number.NaN);
    await bench().due(10, 'Shop.sold');
    expect([...(await waiting()).keys()]).toEqual([TOMBSTONE]);
  });

  it('knows whether the work can still be running', async () => {
    const young = await bench().prepare({ checkEveryMs: 1 });
    const old = await bench().prepare({ checkEveryMs: 1, maxAgeMs: 0 });
    const due = await bench().store.due({ checker: TOMBSTONE, limit: 10 });
    expect(new Map(due.map(({ message, isYoung }) => [message.id, isYoung]))).toEqual(
      new Map([
        [young.id, true],
        [old.id, false],
      ]),
    );
  });
}

export function parking(bench: Prepared): void {
  const parked = async () => (await bench().store.undecided({ limit: 10 })).map(({ message }) => message.id);

  it('parks what nobody decides, and neither checks nor decides it then', async () => {
    const { id } = await bench().prepare({ checkEveryMs: 1 });
    await bench().due();
    expect(await bench().store.park(id)).toBe(true);
    expect(await bench().store.park(id)).toBe(false);
    expect(await bench().due()).toEqual([]);
    expect(await bench().store.commit(id, 'prepared')).toMatchObject({ decided: false, state: 'undecided' });
    expect(await bench().store.rollback(id, 'prepared')).toMatchObject({ decided: false, state: 'undecided' });
    expect(await bench().publishedIds()).toEqual([]);
    expect(await bench().store.checkerOf(id)).toBe(TOMBSTONE);
    expect(await bench().store.undecided({ limit: 10 })).toMatchObject([{ message: { id }, checks: 1 }]);
  });

  it('checks what is resumed from the first check on, at once', async () => {
    const { id } = await bench().prepare({ checks: 1 });
    await bench().due();
    expect(await bench().store.resume(id)).toBe(false);
    await bench().store.park(id);
    expect(await bench().store.resume(id)).toBe(true);
    expect(await bench().due()).toEqual([id]);
    expect(await parked()).toEqual([]);
  });

  it('lets a person decide what is parked, once, and shows the others page by page', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 3; n += 1) ids.push((await bench().prepare()).id);
    for (const id of ids) await bench().store.park(id);
    const [first = '', second = '', third = ''] = await parked();
    expect([first, second, third]).toEqual(ids);
    expect((await bench().store.undecided({ after: first, limit: 1 })).map(({ message }) => message.id)).toEqual([
      second,
    ]);
    expect(await bench().store.commit(second, 'undecided')).toMatchObject({ decided: true, state: 'committed' });
    expect(await bench().store.rollback(second, 'undecided')).toMatchObject({ decided: false, state: 'committed' });
    expect(await bench().store.rollback(third, 'undecided')).toMatchObject({ decided: true, state: 'rolled-back' });
    expect(await parked()).toEqual([first]);
    expect(await bench().publishedIds()).toEqual([second]);
  });

  it('knows how many are open, and how old the oldest is', async () => {
    expect(await bench().store.facts()).toEqual({ prepared: 0, undecided: 0, oldestPreparedMs: 0 });
    const ids: string[] = [];
    for (let n = 0; n < 4; n += 1) ids.push((await bench().prepare()).id);
    await bench().store.park(ids[0] ?? '');
    await bench().store.commit(ids[1] ?? '', 'prepared');
    await vi.waitFor(async () => {
      const facts = await bench().store.facts();
      expect(facts).toMatchObject({ prepared: 2, undecided: 1 });
      expect(facts.oldestPreparedMs).toBeGreaterThan(20);
      expect(facts.oldestPreparedMs).toBeLessThan(60_000);
    });
  });
}
