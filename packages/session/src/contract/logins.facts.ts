import { expect, it } from 'vitest';
import type { ReplaceRequest, SessionKey } from '../session-store.js';
import type { ContractSubject } from './contract-subject.js';

type Manner = ReplaceRequest['manner'];

/** `replace` by login and reset, into the same group and into another one. */
export function describeLogins(subject: ContractSubject): void {
  const somewhere = [
    ['the same group', (from: SessionKey) => from.group],
    ['another group', () => subject.group()],
  ] as const;

  it.each(somewhere)('gives the session to its user with all its attributes, in %s', async (_, groupOf) => {
    const from = await subject.visitor({ cart: '[1]', theme: '"dark"' });
    const old = await subject.look(from);
    const draft = subject.userDraft(groupOf(from), { meta: '{"ip":"::2"}', idleMs: 5_000, absoluteMs: 60_000 });
    const { record, evicted, expired } = await subject.replaced({ from, draft, manner: 'login' });
    expect(record).toMatchObject({ key: draft.key, principal: draft.principal, meta: draft.meta, idleMs: 5_000 });
    expect(record.expiresAt).toBe(record.createdAt + 60_000);
    expect([record.issuedAt, record.lastAccessAt]).toEqual([record.createdAt, record.createdAt]);
    expect(record.version).toBeGreaterThan(old?.version ?? 0);
    expect([evicted, expired]).toEqual([[], []]);
    expect({ ...(await subject.look(draft.key)), readAt: 0 }).toEqual({ ...record, readAt: 0 });
    expect(await subject.texts(draft.key)).toEqual({ cart: '[1]', theme: '"dark"' });
    expect(await subject.listed(draft.key.group)).toEqual([draft.key.id]);
  });

  it.each(somewhere)('leaves the attributes behind at a reset, in %s', async (_, groupOf) => {
    const from = await subject.visitor({ cart: '[1]' });
    const draft = subject.userDraft(groupOf(from));
    await subject.replaced({ from, draft, manner: 'reset' });
    expect(await subject.texts(draft.key)).toEqual({});
    expect(await subject.isLive(from)).toBe(false);
    expect(await subject.listed(draft.key.group)).toEqual([draft.key.id]);
  });

  it.each(somewhere)('makes the old id worth nothing before the answer, in %s (fixation)', async (_, groupOf) => {
    for (const manner of ['login', 'reset'] satisfies Manner[]) {
      const from = await subject.visitor({ cart: '1' });
      const draft = subject.userDraft(groupOf(from));
      await subject.replaced({ from, draft, manner });
      expect(await subject.use(from)).toBeUndefined();
      expect(await subject.save(from, { cart: 'fixed' })).toEqual({ outcome: 'gone' });
      expect(await subject.store.remove({ group: from.group, ids: [from.id] })).toEqual([]);
      const again = subject.userDraft(subject.group());
      expect(await subject.store.replace({ from, draft: again, manner })).toEqual({ outcome: 'gone' });
      expect([await subject.isLive(draft.key), await subject.isLive(again.key)]).toEqual([true, false]);
      expect(await subject.listed(again.key.group)).toEqual([]);
    }
  });

  it.each(somewhere)('takes effect once when it is sent twice, in %s', async (_, groupOf) => {
    const from = await subject.visitor({ cart: '1' });
    const draft = subject.userDraft(groupOf(from));
    const limit = { sessions: 1, policy: 'reject' } as const;
    const first = await subject.replaced({ from, draft, manner: 'login', limit });
    await subject.save(draft.key, { cart: '2' });
    const second = await subject.replaced({ from, draft, manner: 'login', limit });
    expect(second.record.createdAt).toBe(first.record.createdAt);
    expect(await subject.texts(draft.key)).toEqual({ cart: '2' });
    expect(await subject.listed(draft.key.group)).toEqual([draft.key.id]);
  });

  it.each(somewhere)('has one successor of many logins side by side, in %s', async (_, groupOf) => {
    const from = await subject.visitor({ cart: '1' });
    const drafts = Array.from({ length: 10 }, () => subject.userDraft(groupOf(from)));
    const outcomes = await Promise.all(
      drafts.map((draft, index) =>
        (index % 2 === 0 ? subject.store : subject.another).replace({ from, draft, manner: 'login' }),
      ),
    );
    expect(outcomes.filter(({ outcome }) => outcome === 'replaced')).toHaveLength(1);
    expect(outcomes.filter(({ outcome }) => outcome === 'gone')).toHaveLength(9);
    const live = await Promise.all(drafts.map(async ({ key }) => subject.isLive(key)));
    expect(live).toEqual(outcomes.map(({ outcome }) => outcome === 'replaced'));
    const listed = await Promise.all([...new Set(drafts.map(({ key }) => key.group))].map((g) => subject.listed(g)));
    expect(listed.flat()).toEqual(drafts.filter((_draft, index) => live[index]).map(({ key }) => key.id));
  });

  it.each(somewhere)('loses no save that was answered before it, in %s (C6)', async (_, groupOf) => {
    for (let round = 0; round < 10; round += 1) {
      const from = await subject.visitor();
      const draft = subject.userDraft(groupOf(from));
      const names = Array.from({ length: 10 }, (_name, index) => `n${index}`);
      const [replaced, ...saves] = await Promise.all([
        subject.store.replace({ from, draft, manner: 'login' }),
        ...names.map((name) => subject.another.save(subject.saving(from, { [name]: '1' }))),
      ]);
      expect(replaced.outcome).toBe('replaced');
      const answered = names.filter((_name, index) => saves[index]?.outcome === 'saved');
      expect(Object.keys((await subject.texts(draft.key)) ?? {}).sort()).toEqual(answered.sort());
    }
  });

  it.each(somewhere)('makes nothing of what is removed, run out, or never been, in %s', async (_, groupOf) => {
    const removed = await subject.visitor();
    await subject.store.remove({ group: removed.group, ids: [removed.id] });
    const { record } = await subject.created(subject.draft({ idleMs: 100 }));
    await subject.gone(record.key);
    for (const from of [removed, record.key, subject.key()]) {
      const draft = subject.userDraft(groupOf(from));
      expect(await subject.store.replace({ from, draft, manner: 'login' })).toEqual({ outcome: 'gone' });
      expect(await subject.isLive(draft.key)).toBe(false);
      expect(await subject.listed(draft.key.group)).toEqual([]);
    }
  });

  it.each(somewhere)('leaves one of the two when a logout of the old id races it, in %s', async (_, groupOf) => {
    for (let round = 0; round < 10; round += 1) {
      const from = await subject.visitor();
      const draft = subject.userDraft(groupOf(from));
      const [replaced, removed] = await Promise.all([
        subject.store.replace({ from, draft, manner: 'login' }),
        subject.another.remove({ group: from.group, ids: [from.id] }),
      ]);
      expect(replaced.outcome).toBe(removed.length === 1 ? 'gone' : 'replaced');
      expect(await subject.isLive(from)).toBe(false);
      expect(await subject.isLive(draft.key)).toBe(removed.length === 0);
      expect(await subject.listed(draft.key.group)).toEqual(removed.length === 0 ? [draft.key.id] : []);
    }
  });

  it('takes the old session of a user out of his list', async () => {
    const group = subject.group();
    const from = await subject.session(group);
    const draft = subject.userDraft(group);
    await subject.replaced({ from, draft, manner: 'login' });
    expect(await subject.listed(group)).toEqual([draft.key.id]);
  });

  it('gives a session of nobody a new id when its privileges change', async () => {
    const from = await subject.visitor({ cart: '1' });
    const draft = subject.draft();
    await subject.replaced({ from, draft, manner: 'login' });
    expect(await subject.texts(draft.key)).toEqual({ cart: '1' });
    expect(await subject.isLive(from)).toBe(false);
    expect(await subject.listed(draft.key.group)).toEqual([]);
  });

  it('leaves nothing of the user when he is replaced by nobody', async () => {
    const group = subject.group();
    const from = await subject.session(group, { cart: '1' });
    const draft = subject.draft({ key: subject.key(group) });
    await subject.replaced({ from, draft, manner: 'login' });
    expect(await subject.look(draft.key)).toMatchObject({ principal: undefined });
    expect(await subject.listed(group)).toEqual([]);
  });

  it('writes under the new id with the revisions that were read before it', async () => {
    for (const [, groupOf] of somewhere) {
      const from = await subject.visitor({ cart: '1' });
      const revision = (await subject.look(from))?.attributes.get('cart')?.revision ?? -1;
      const draft = subject.userDraft(groupOf(from));
      const { record } = await subject.replaced({ from, draft, manner: 'login' });
      expect(record.attributes.get('cart')).toEqual({ text: '1', revision });
      const outcome = await subject.save(draft.key, { cart: '2' }, { expect: { attribute: 'cart', revision } });
      expect(outcome).toMatchObject({ outcome: 'saved' });
      expect(outcome.outcome === 'saved' && outcome.version).toBeGreaterThan(record.version);
      expect(outcome.outcome === 'saved' && outcome.revisions[0]).toBeGreaterThan(revision);
    }
  });
}
