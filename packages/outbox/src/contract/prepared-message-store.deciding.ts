import { expect, it, vi } from 'vitest';
import type { Prepared } from './prepared-message-store.bench.js';

const UNKNOWN_ID = '018cc251-f400-7000-8000-000000000001';

export function deciding(bench: Prepared): void {
  it('shows nobody what is prepared, and puts it into the outbox as it was given when it is committed', async () => {
    const message = { key: 'order:{1}/ü', payload: '{"amount":12345678901234567890}', headers: { a: 'ü☃' } };
    const { id } = await bench().prepare(message);
    expect(await bench().publishedIds()).toEqual([]);
    expect(await bench().store.commit(id, 'prepared')).toEqual({
      decided: true,
      state: 'committed',
      shard: 3,
      delayMs: 0,
    });
    expect(await bench().ends.published()).toEqual([{ id, topic: 'paid', ...message, delayed: false }]);
  });

  it('begins the delay of a message with its commit', async () => {
    const { id } = await bench().prepare({ delayMs: 60_000 });
    expect(await bench().store.commit(id, 'prepared')).toMatchObject({ delayMs: 60_000 });
    expect(await bench().ends.published()).toMatchObject([{ id, delayed: true }]);
  });

  it('refuses a commit that comes after the rollback, and a rollback that comes after the commit, and says so', async () => {
    const [one, other] = [await bench().prepare(), await bench().prepare()];
    expect(await bench().store.rollback(one.id, 'prepared')).toMatchObject({ decided: true, state: 'rolled-back' });
    expect(await bench().store.commit(one.id, 'prepared')).toMatchObject({ decided: false, state: 'rolled-back' });
    await bench().store.commit(other.id, 'prepared');
    expect(await bench().store.rollback(other.id, 'prepared')).toMatchObject({ decided: false, state: 'committed' });
    expect(await bench().publishedIds()).toEqual([other.id]);
  });

  it('lets one of many decisions at the same time decide, and publishes once or not at all', async () => {
    for (let round = 0; round < 5; round += 1) {
      const { id } = await bench().prepare();
      const outcomes = await Promise.all([
        bench().store.commit(id, 'prepared'),
        bench().store.rollback(id, 'prepared'),
        bench().store.commit(id, 'prepared'),
        bench().store.rollback(id, 'prepared'),
      ]);
      const [winner, ...others] = outcomes.filter(({ decided }) => decided);
      expect(others).toEqual([]);
      expect(new Set(outcomes.map(({ state }) => state))).toEqual(new Set([winner?.state]));
      const published = (await bench().publishedIds()).filter((one) => one === id);
      expect(published).toHaveLength(winner?.state === 'committed' ? 1 : 0);
    }
  });

  it('says of what is not there that it is not', async () => {
    for (const outcome of [
      bench().store.commit(UNKNOWN_ID, 'prepared'),
      bench().store.rollback(UNKNOWN_ID, 'prepared'),
    ]) {
      expect(await outcome).toEqual({ decided: false, state: undefined, shard: undefined, delayMs: 0 });
    }
  });
}

export function burning(bench: Prepared): void {
  it('finds the commit of a transaction that has joined', async () => {
    const half = await bench().prepare();
    expect(await bench().join(half)).toBe(true);
    for (let asked = 0; asked < 2; asked += 1) expect(await bench().store.standing(half.id)).toBe('commit');
  });

  it('refuses whoever joins after the check has found nothing', async () => {
    const half = await bench().prepare();
    expect(await bench().store.standing(half.id)).toBe('rollback');
    expect(await bench().join(half)).toBe(false);
    expect(await bench().store.standing(half.id)).toBe('rollback');
  });

  it('refuses whoever joins after the deadline, also when nobody has checked', async () => {
    const half = await bench().prepare({ joinWithinMs: 0 });
    expect(await bench().join(half)).toBe(false);
    expect(await bench().store.standing(half.id)).toBe('rollback');
  });

  it('finds that a transaction which had joined was rolled back', async () => {
    const half = await bench().prepare();
    await bench().joinInVain(half);
    expect(await bench().store.standing(half.id)).toBe('rollback');
    expect(await bench().join(half)).toBe(false);
  });

  it('does not know, soon, while a transaction that has joined is open', async () => {
    const half = await bench().prepare();
    const askedMs = await bench().ends.transaction(async (tx) => {
      expect(await bench().store.join(tx, half.id, half.deadline)).toBe(true);
      const beganAt = performance.now();
      expect(await bench().store.standing(half.id)).toBe('unknown');
      return performance.now() - beganAt;
    });
    expect(askedMs).toBeLessThan(900);
    expect(await bench().store.standing(half.id)).toBe('commit');
  });

  it('forgets what was decided long enough ago, with its tombstone, and nothing before its deadline', async () => {
    const brief = await bench().prepare({ joinWithinMs: 1 });
    const [long, open] = [await bench().prepare(), await bench().prepare({ joinWithinMs: 1 })];
    expect(await bench().store.standing(brief.id)).toBe('rollback');
    expect(await bench().store.standing(long.id)).toBe('rollback');
    for (const { id } of [brief, long]) await bench().store.rollback(id, 'prepared');
    expect(await bench().store.purge(60_000)).toBe(0);
    await vi.waitFor(async () => expect(await bench().store.purge(1)).toBe(1));
    expect(await bench().store.commit(brief.id, 'prepared')).toMatchObject({ state: undefined });
    expect(await bench().join(brief)).toBe(false);
    expect(await bench().store.standing(brief.id)).toBe('unknown');
    expect(await bench().join(long)).toBe(false);
    expect(await bench().store.commit(long.id, 'prepared')).toMatchObject({ state: 'rolled-back' });
    expect(await bench().store.commit(open.id, 'prepared')).toMatchObject({ state: 'committed' });
  });

  it('never forgets the tombstone of a message that is open', async () => {
    const half = await bench().prepare({ joinWithinMs: 1_000 });
    await bench().join(half);
    await vi.waitFor(async () => expect(await bench().store.purge(1)).toBe(0));
    expect(await bench().store.standing(half.id)).toBe('commit');
  });
}
