import { expect, it, vi } from 'vitest';
import { type ContractSubject, LONG_MS, POLL } from './contract-subject.js';

const SHORT_MS = 300;

/** Load, create, touch and the two ends that time brings. */
export function describeLiving(subject: ContractSubject): void {
  it('knows no session that was not made', async () => {
    expect(await subject.use(subject.key())).toBeUndefined();
  });

  it('finds what was created, with its times by one clock', async () => {
    const draft = subject.draft({ meta: '{"ip":"::1"}', idleMs: 5_000, absoluteMs: 60_000 });
    const { record, evicted, expired } = await subject.created(draft, { cart: '[1]', theme: '"dark"' });
    expect(record).toMatchObject({ key: draft.key, principal: undefined, meta: '{"ip":"::1"}', idleMs: 5_000 });
    expect([evicted, expired]).toEqual([[], []]);
    expect(record.expiresAt).toBe(record.createdAt + 60_000);
    expect([record.issuedAt, record.lastAccessAt]).toEqual([record.createdAt, record.createdAt]);
    expect(record.readAt).toBeGreaterThanOrEqual(record.createdAt);
    const found = await subject.look(draft.key);
    expect({ ...found, readAt: 0 }).toEqual({ ...record, readAt: 0 });
    expect(found?.readAt).toBeGreaterThanOrEqual(record.readAt);
    expect(await subject.texts(draft.key)).toEqual({ cart: '[1]', theme: '"dark"' });
  });

  it('finds a session without attributes, and one of somebody as login wrote him', async () => {
    const group = subject.group();
    const { record } = await subject.created(subject.userDraft(group, { principal: '{"id":"ключ 🔑"}' }));
    expect(await subject.look(record.key)).toMatchObject({ principal: '{"id":"ключ 🔑"}', attributes: new Map() });
  });

  it('finds a session by its own group only', async () => {
    const key = await subject.visitor();
    const elsewhere = { id: key.id, group: subject.group() };
    expect(await subject.look(elsewhere)).toBeUndefined();
    expect(await subject.save(elsewhere, { a: '1' })).toEqual({ outcome: 'gone' });
    expect(await subject.store.remove({ group: elsewhere.group, ids: [key.id] })).toEqual([]);
    expect(await subject.isLive(key)).toBe(true);
  });

  it('makes one session of a create that is sent twice, and answers both alike', async () => {
    const group = subject.group();
    const draft = subject.userDraft(group);
    const limit = { sessions: 1, policy: 'reject' } as const;
    const first = await subject.created(draft, { cart: '1' }, limit);
    await subject.save(draft.key, { cart: '2' });
    const second = await subject.created(draft, { cart: '1' }, limit);
    expect(second.record).toMatchObject({ key: draft.key, createdAt: first.record.createdAt });
    expect(await subject.texts(draft.key)).toEqual({ cart: '2' });
    expect(await subject.listed(group)).toEqual([draft.key.id]);
  });

  it('ends a session that nobody uses for the idle timeout', async () => {
    const { record } = await subject.created(subject.draft({ idleMs: SHORT_MS }), { cart: '1' });
    await subject.gone(record.key);
    expect(await subject.use(record.key)).toBeUndefined();
    expect(await subject.save(record.key, { cart: '2' })).toEqual({ outcome: 'gone' });
  });

  it('keeps a session that is used far beyond its idle timeout', async () => {
    const { record } = await subject.created(subject.draft({ idleMs: 900 }));
    const { record: unused } = await subject.created(subject.draft({ idleMs: 2_000 }));
    await vi.waitFor(async () => {
      if (!(await subject.use(record.key))) throw new Error('it ended though it was used');
      expect(await subject.look(unused.key)).toBeUndefined();
    }, POLL);
    expect(await subject.isLive(record.key)).toBe(true);
  });

  it('does not take a look for a use', async () => {
    const { record } = await subject.created(subject.draft({ idleMs: SHORT_MS }));
    expect((await subject.look(record.key))?.lastAccessAt).toBe(record.lastAccessAt);
    // The look is repeated all the time until it finds nothing.
    await subject.gone(record.key);
  });

  it('notes a use only when the last noted one is old enough, and tells what it noted', async () => {
    const { record } = await subject.created(subject.draft());
    const unnoted = await subject.use(record.key, LONG_MS);
    expect(unnoted?.lastAccessAt).toBe(record.lastAccessAt);
    const noted = await vi.waitFor(async () => {
      const used = await subject.use(record.key, 20);
      expect(used?.lastAccessAt).toBeGreaterThan(record.lastAccessAt);
      return used;
    }, POLL);
    // A store may look at its clock once for the use and once for the record.
    const lagMs = (noted?.readAt ?? 0) - (noted?.lastAccessAt ?? 0);
    expect(lagMs).toBeGreaterThanOrEqual(0);
    expect(lagMs).toBeLessThan(LONG_MS / 2);
    expect((await subject.look(record.key))?.lastAccessAt).toBe(noted?.lastAccessAt);
    expect(noted).toMatchObject({ createdAt: record.createdAt, expiresAt: record.expiresAt, version: record.version });
  });

  it('ends a session at its absolute end, however much it is used', async () => {
    const { record } = await subject.created(subject.draft({ idleMs: LONG_MS, absoluteMs: SHORT_MS }));
    await vi.waitFor(async () => expect(await subject.use(record.key)).toBeUndefined(), POLL);
    expect(await subject.save(record.key, { cart: '1' })).toEqual({ outcome: 'gone' });
  });

  it('does not put the end off by saving', async () => {
    const { record } = await subject.created(subject.draft({ idleMs: SHORT_MS }));
    await vi.waitFor(async () => expect(await subject.save(record.key, { n: '1' })).toEqual({ outcome: 'gone' }), POLL);
  });
}
