import { expect, it, vi } from 'vitest';
import type { SessionKey } from '../session-store.js';
import { type ContractSubject, LONG_MS, POLL } from './contract-subject.js';

/** `replace` by renewal: the same session under a new id, and the old one that leads to it for a while. */
export function describeRenewals(subject: ContractSubject): void {
  const untilGone = (key: SessionKey): Promise<void> =>
    vi.waitFor(async () => expect(await subject.use(key)).toBeUndefined(), POLL);

  it('keeps the session as it is, but for its id and when that was given out', async () => {
    const group = subject.group();
    const from = await subject.session(group, { cart: '[1]' });
    const old = await subject.look(from);
    const draft = subject.draft({ key: subject.key(group), idleMs: 1, absoluteMs: 1, meta: 'other' });
    const { record } = await subject.replaced({ from, draft, manner: 'renew', graceMs: LONG_MS });
    const { issuedAt, ...same } = { ...record, readAt: 0 };
    expect({ ...same, issuedAt: 0 }).toEqual({ ...old, key: draft.key, issuedAt: 0, readAt: 0 });
    expect(issuedAt).toBeGreaterThanOrEqual(old?.issuedAt ?? Number.POSITIVE_INFINITY);
    expect({ ...(await subject.look(draft.key)), readAt: 0 }).toEqual({ ...record, readAt: 0 });
    expect(await subject.listed(group)).toEqual([draft.key.id]);
  });

  it('leads from the old id to the new one: loads, saves and removals by it are of the same session', async () => {
    const from = await subject.visitor({ cart: '1' });
    const to = await subject.renewed(from);
    expect((await subject.use(from))?.key).toEqual(to);
    expect(await subject.save(from, { cart: '2' })).toMatchObject({ outcome: 'saved' });
    expect(await subject.texts(to)).toEqual({ cart: '2' });
    expect(await subject.store.remove({ group: from.group, ids: [from.id] })).toEqual([to.id]);
    expect([await subject.isLive(from), await subject.isLive(to)]).toEqual([false, false]);
  });

  it('ends a session once, though it is removed by both of its ids', async () => {
    const from = await subject.session(subject.group());
    const to = await subject.renewed(from);
    expect(await subject.store.remove({ group: from.group, ids: [from.id, to.id] })).toEqual([to.id]);
  });

  it('spares the successor of the id that is to be spared', async () => {
    const group = subject.group();
    const from = await subject.session(group);
    const other = await subject.session(group);
    const to = await subject.renewed(from);
    expect(await subject.store.remove({ group, except: from.id })).toEqual([other.id]);
    expect(await subject.isLive(to)).toBe(true);
  });

  it('ends the old id after the grace, which begins when the new one is first used', async () => {
    const from = await subject.visitor();
    const to = await subject.renewed(from, { graceMs: 200 });
    const { record: bystander } = await subject.created(subject.draft({ absoluteMs: 700 }));
    await untilGone(bystander.key);
    expect(await subject.isLive(from)).toBe(true);
    await subject.use(to);
    await untilGone(from);
    expect(await subject.save(from, { cart: '1' })).toEqual({ outcome: 'gone' });
    expect(await subject.isLive(to)).toBe(true);
  });

  it('does not begin the grace by a look', async () => {
    const from = await subject.visitor();
    const to = await subject.renewed(from, { graceMs: 50 });
    const { record: bystander } = await subject.created(subject.draft({ absoluteMs: 500 }));
    await vi.waitFor(async () => {
      expect(await subject.isLive(to)).toBe(true);
      expect(await subject.isLive(bystander.key)).toBe(false);
    }, POLL);
    expect(await subject.isLive(from)).toBe(true);
  });

  it('does not prolong the grace by further uses of either id', async () => {
    const from = await subject.visitor();
    const to = await subject.renewed(from, { graceMs: 300 });
    await subject.use(to);
    await vi.waitFor(async () => {
      await subject.use(to);
      expect(await subject.use(from)).toBeUndefined();
    }, POLL);
  });

  it('keeps the old id of a client that never got the answer, as long as it is used', async () => {
    const { record } = await subject.created(subject.draft({ idleMs: 900 }));
    const to = await subject.renewed(record.key, { graceMs: 50 });
    const { record: bystander } = await subject.created(subject.draft({ absoluteMs: 2_200 }));
    await vi.waitFor(async () => {
      if (!(await subject.use(record.key))) throw new Error('the old id ended though it was used');
      expect(await subject.isLive(bystander.key)).toBe(false);
    }, POLL);
    expect(await subject.isLive(to)).toBe(true);
  });

  it('has one successor of many renewals side by side, to which the old id leads', async () => {
    for (const from of [await subject.visitor(), await subject.session(subject.group())]) {
      const drafts = Array.from({ length: 10 }, () => subject.draft({ key: subject.key(from.group) }));
      const outcomes = await Promise.all(
        drafts.map((draft, index) =>
          (index % 2 === 0 ? subject.store : subject.another).replace({ from, draft, manner: 'renew', graceMs: 1_000 }),
        ),
      );
      expect(outcomes.filter(({ outcome }) => outcome === 'replaced')).toHaveLength(1);
      expect(outcomes.filter(({ outcome }) => outcome === 'renewed')).toHaveLength(9);
      const winner = drafts[outcomes.findIndex(({ outcome }) => outcome === 'replaced')];
      const live = await Promise.all(drafts.map(async ({ key }) => subject.isLive(key)));
      expect(live.filter(Boolean)).toHaveLength(1);
      expect((await subject.look(from))?.key).toEqual(winner?.key);
    }
  });

  it('takes effect once when it is sent twice', async () => {
    const group = subject.group();
    const from = await subject.session(group, { cart: '1' });
    const request = { from, draft: subject.draft({ key: subject.key(group) }), manner: 'renew', graceMs: 50 } as const;
    const first = await subject.replaced(request);
    expect({ ...(await subject.replaced(request)).record, readAt: 0 }).toEqual({ ...first.record, readAt: 0 });
    expect(await subject.listed(group)).toEqual([request.draft.key.id]);
  });

  it('renews again, and again the old ids lead to the latest', async () => {
    const first = await subject.visitor({ cart: '1' });
    const second = await subject.renewed(first);
    const third = await subject.renewed(second);
    expect((await subject.look(second))?.key).toEqual(third);
    expect((await subject.look(first))?.key).toEqual(third);
    expect(await subject.save(first, { cart: '2' })).toMatchObject({ outcome: 'saved' });
    expect(await subject.texts(third)).toEqual({ cart: '2' });
  });

  it('remembers the saves of before: one that is sent again after it takes no second effect (H8)', async () => {
    const from = await subject.visitor();
    const request = subject.saving(from, { cart: '1' }, { expect: { attribute: 'cart', revision: 0 } });
    const first = await subject.store.save(request);
    const to = await subject.renewed(from);
    expect(await subject.store.save(request)).toEqual(first);
    expect((await subject.look(to))?.version).toBe(first.outcome === 'saved' && first.version);
  });

  it('loses no save that races it, under whichever id (C6)', async () => {
    for (let round = 0; round < 10; round += 1) {
      const from = await subject.visitor();
      const names = Array.from({ length: 10 }, (_, index) => `n${index}`);
      const [to, ...saves] = await Promise.all([
        subject.renewed(from),
        ...names.map((name) => subject.another.save(subject.saving(from, { [name]: '1' }))),
      ]);
      expect(saves.map(({ outcome }) => outcome)).toEqual(names.map(() => 'saved'));
      expect(Object.keys((await subject.texts(to)) ?? {}).sort()).toEqual(names);
    }
  });

  it('leaves no way back to a session that logs in: neither the id before nor the one before that (fixation)', async () => {
    for (const group of [undefined, subject.group()]) {
      const first = await subject.visitor({ cart: '1' });
      const second = await subject.renewed(first);
      // The login comes by the oldest id that still leads there.
      const draft = subject.userDraft(group ?? first.group);
      await subject.replaced({ from: first, draft, manner: 'login' });
      for (const key of [first, second]) {
        expect(await subject.use(key)).toBeUndefined();
        expect(await subject.save(key, { cart: 'fixed' })).toEqual({ outcome: 'gone' });
      }
      expect(await subject.texts(draft.key)).toEqual({ cart: '1' });
    }
  });

  it('ends with the session: at its idle timeout as ever', async () => {
    const { record } = await subject.created(subject.draft({ idleMs: 300 }));
    const to = await subject.renewed(record.key);
    await subject.gone(to);
    await subject.gone(record.key);
  });
}
