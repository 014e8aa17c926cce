import { expect, it, vi } from 'vitest';
import { isWatchable, type SessionKey, type SessionStore, type WatchableStore } from '../session-store.js';
import { type ContractSubject, POLL } from './contract-subject.js';

/** Facts of a store that is a {@link WatchableStore}; skipped for others. */
export function describeWatching(subject: ContractSubject): void {
  const fact = (name: string, prove: (store: SessionStore & WatchableStore) => Promise<void>): void =>
    it(name, async ({ skip }) => {
      const { store } = subject;
      if (!isWatchable(store)) return skip('it does not tell of ends');
      await prove(store);
    });

  const ends: Readonly<Record<string, (key: SessionKey) => Promise<unknown>>> = {
    'is removed': (key) => subject.another.remove({ group: key.group, ids: [key.id] }),
    'is removed with all of its user': (key) => subject.another.remove({ group: key.group }),
    'is evicted': (key) =>
      subject.another.create({
        ...subject.creation(subject.userDraft(key.group)),
        limit: { sessions: 1, policy: 'evict-oldest' },
      }),
    'is replaced by a login of its group': (key) =>
      subject.another.replace({ from: key, draft: subject.userDraft(key.group), manner: 'login' }),
    'is replaced by a reset into another group': (key) =>
      subject.another.replace({ from: key, draft: subject.userDraft(subject.group()), manner: 'reset' }),
  };
  for (const [title, end] of Object.entries(ends)) {
    fact(`tells once that a session ${title}, and nothing of others`, async (store) => {
      const [key, other] = [await subject.session(subject.group()), await subject.session(subject.group())];
      const [ended, otherEnded] = [vi.fn(), vi.fn()];
      const leave = [await store.watch(key, ended), await store.watch(other, otherEnded)];
      await subject.save(key, { cart: '1' });
      await subject.use(key);
      expect(ended).not.toHaveBeenCalled();
      await end(key);
      await vi.waitFor(() => expect(ended).toHaveBeenCalledTimes(1), POLL);
      await Promise.all(leave.map((one) => one()));
      expect([ended.mock.calls.length, otherEnded.mock.calls.length]).toEqual([1, 0]);
    });
  }

  fact('tells all who watch, but not those who have left', async (store) => {
    const key = await subject.visitor();
    const [one, two, left] = [vi.fn(), vi.fn(), vi.fn()];
    const leave = await store.watch(key, left);
    const others = [await store.watch(key, one), await store.watch(key, two)];
    await leave();
    await leave();
    await store.remove({ group: key.group, ids: [key.id] });
    await vi.waitFor(() => expect([one, two].map(({ mock }) => mock.calls.length)).toEqual([1, 1]), POLL);
    expect(left).not.toHaveBeenCalled();
    await Promise.all(others.map((other) => other()));
  });

  fact('takes no renewal for an end, and tells the end of what the watched id was renewed to', async (store) => {
    const key = await subject.session(subject.group());
    const ended = vi.fn();
    const leave = await store.watch(key, ended);
    const to = await subject.renewed(key);
    const latest = await subject.renewed(to);
    const onceMore = await subject.session(key.group);
    await store.remove({ group: key.group, ids: [onceMore.id] });
    expect(ended).not.toHaveBeenCalled();
    await store.remove({ group: key.group, ids: [latest.id] });
    await vi.waitFor(() => expect(ended).toHaveBeenCalledTimes(1), POLL);
    await leave();
  });
}
