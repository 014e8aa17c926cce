import { expect, it, vi } from 'vitest';
import type { SessionKey, SessionLimit } from '../session-store.js';
import { type ContractSubject, POLL } from './contract-subject.js';

/** What the index of a user's sessions must keep. */
export function describeUsers(subject: ContractSubject): void {
  it('are listed, the newest first, with what each is', async () => {
    const group = subject.group();
    const made: string[] = [];
    for (let index = 0; index < 3; index += 1) {
      const draft = subject.userDraft(group, { meta: `{"n":"${index}"}` });
      const { record } = await subject.created(draft, { cart: '1' });
      // Of those of one millisecond nobody is newer.
      await vi.waitFor(async () => {
        expect((await subject.look(draft.key))?.readAt).toBeGreaterThan(record.createdAt + 1);
      }, POLL);
      made.unshift(draft.key.id);
    }
    const { sessions, expired } = await subject.store.list(group);
    expect([sessions.map(({ key }) => key.id), expired]).toEqual([made, []]);
    const looked = await subject.look({ id: made[0] ?? '', group });
    const { attributes, version, readAt, ...head } = looked ?? {};
    expect([attributes?.size, version, typeof readAt]).toEqual([1, 1, 'number']);
    expect(sessions[0]).toEqual(head);
  });

  it('are listed without those of others, and without a session of nobody', async () => {
    const group = subject.group();
    await subject.session(subject.group());
    await subject.created(subject.draft({ key: subject.key(group) }));
    expect(await subject.store.list(group)).toEqual({ sessions: [], expired: [] });
  });

  it('are not listed once they have run out, which is told at most once', async () => {
    const group = subject.group();
    const live = await subject.session(group);
    const { record } = await subject.created(subject.userDraft(group, { idleMs: 150 }));
    await subject.gone(record.key);
    expect(await subject.store.list(group)).toMatchObject({ expired: [record.key.id] });
    expect(await subject.store.list(group)).toMatchObject({ sessions: [{ key: live }], expired: [] });
  });

  it('end by their ids, and it is told which of them this call ended', async () => {
    const group = subject.group();
    const [one, two, three] = await sessionsOf(subject, group, 3);
    const ids = [one.id, two.id, subject.key().id];
    expect((await subject.store.remove({ group, ids })).toSorted()).toEqual([one.id, two.id].sort());
    expect(await subject.store.remove({ group, ids })).toEqual([]);
    expect(await subject.listed(group)).toEqual([three.id]);
    expect(await subject.store.remove({ group, ids: [] })).toEqual([]);
    expect([await subject.isLive(one), await subject.isLive(three)]).toEqual([false, true]);
  });

  it('end all together, but for one if it is so wished', async () => {
    const group = subject.group();
    const [one, two, three] = await sessionsOf(subject, group, 3);
    const bystander = await subject.session(subject.group());
    expect((await subject.store.remove({ group, except: two.id })).toSorted()).toEqual([one.id, three.id].sort());
    expect(await subject.listed(group)).toEqual([two.id]);
    expect(await subject.store.remove({ group })).toEqual([two.id]);
    expect(await subject.listed(group)).toEqual([]);
    expect(await subject.isLive(bystander)).toBe(true);
  });

  it('end by id though nobody is logged in there', async () => {
    const key = await subject.visitor();
    expect(await subject.store.remove({ group: key.group, ids: [key.id] })).toEqual([key.id]);
    expect(await subject.isLive(key)).toBe(false);
  });

  it('are each ended by exactly one of many removals side by side', async () => {
    const group = subject.group();
    const made = await sessionsOf(subject, group, 5);
    const ended = await Promise.all([
      subject.store.remove({ group }),
      subject.another.remove({ group }),
      subject.store.remove({ group, ids: made.map(({ id }) => id) }),
    ]);
    expect(ended.flat().sort()).toEqual(made.map(({ id }) => id).sort());
  });

  it('may be hundreds: all are listed, and all end', async () => {
    const group = subject.group();
    const made = await sessionsOf(subject, group, 300);
    expect((await subject.listed(group)).sort()).toEqual(made.map(({ id }) => id).sort());
    expect(await subject.store.remove({ group })).toHaveLength(300);
    expect(await subject.listed(group)).toEqual([]);
  });

  it('are each alive and listed, or neither, when logins race a removal of all (C6, C7)', async () => {
    for (let round = 0; round < 15; round += 1) {
      const group = subject.group();
      const [settled] = await sessionsOf(subject, group, 1);
      const visitors = [await subject.visitor(), await subject.visitor()];
      const logins = visitors.map((from) => ({ from, draft: subject.userDraft(group), manner: 'login' as const }));
      const created = subject.userDraft(group);
      const [removed] = await Promise.all([
        subject.another.remove({ group }),
        ...logins.map((request) => subject.store.replace(request)),
        subject.store.create(subject.creation(created)),
      ]);
      expect(removed).toContain(settled.id);
      const drafts = [...logins.map(({ draft }) => draft), created];
      const live: string[] = [];
      for (const { key } of drafts) if (await subject.isLive(key)) live.push(key.id);
      expect((await subject.listed(group)).sort()).toEqual(live.sort());
      expect(removed.filter((id) => live.includes(id))).toEqual([]);
      await subject.store.remove({ group });
      for (const { key } of drafts) expect(await subject.isLive(key)).toBe(false);
    }
  });
}

/** How many of them there may be. */
export function describeLimits(subject: ContractSubject): void {
  const reject = (sessions: number): SessionLimit => ({ sessions, policy: 'reject' });
  const evict = (sessions: number): SessionLimit => ({ sessions, policy: 'evict-oldest' });

  /** By create, and by login from a visitor's session: the limit must not depend on the way. */
  const ways = [
    ['create', (group: string, limit: SessionLimit) => subject.store.create({ ...draftIn(group), limit })],
    [
      'login',
      async (group: string, limit: SessionLimit) => {
        const from = await subject.visitor();
        const outcome = await subject.store.replace({ from, ...draftIn(group), manner: 'login', limit });
        // Refused, he is who he was.
        expect(await subject.isLive(from)).toBe(outcome.outcome === 'refused');
        return outcome;
      },
    ],
  ] as const;
  const draftIn = (group: string) => ({ draft: subject.userDraft(group), attributes: new Map<string, string>() });

  it.each(ways)('refuses one more under policy reject, and changes nothing, at %s', async (_, enter) => {
    const group = subject.group();
    const made = await sessionsOf(subject, group, 2);
    expect(await enter(group, reject(2))).toEqual({ outcome: 'refused' });
    expect((await subject.listed(group)).sort()).toEqual(made.map(({ id }) => id).sort());
    expect((await enter(group, reject(3))).outcome).not.toBe('refused');
    expect(await subject.listed(group)).toHaveLength(3);
  });

  it.each(ways)('ends the oldest to make room under policy evict-oldest, at %s', async (_, enter) => {
    const group = subject.group();
    const [oldest, second, third] = await sessionsOf(subject, group, 3, 'apart');
    const outcome = await enter(group, evict(2));
    expect(outcome).toMatchObject({ expired: [] });
    expect('evicted' in outcome && outcome.evicted.toSorted()).toEqual([oldest.id, second.id].sort());
    expect([await subject.isLive(oldest), await subject.isLive(second)]).toEqual([false, false]);
    expect(await subject.isLive(third)).toBe(true);
    expect(await subject.listed(group)).toHaveLength(2);
  });

  it.each(ways)(
    'never refuses below the maximum: what has run out does not count, and is told, at %s (H8)',
    async (_, enter) => {
      const group = subject.group();
      const dead: string[] = [];
      const told: string[] = [];
      for (let index = 0; index < 5; index += 1) {
        const { record, expired } = await subject.created(subject.userDraft(group, { idleMs: 100 }));
        dead.push(record.key.id);
        // On a slow machine the first has run out by now, and may be told here.
        told.push(...expired);
      }
      for (const id of dead) await subject.gone({ id, group });
      const outcome = await enter(group, reject(1));
      if ('expired' in outcome) told.push(...outcome.expired);
      expect(outcome.outcome).not.toBe('refused');
      expect(told.sort()).toEqual(dead.sort());
      expect(await subject.listed(group)).toHaveLength(1);
    },
  );

  it.each(ways)('evicts nobody while those that have run out make room, at %s', async (_, enter) => {
    const group = subject.group();
    const [live] = await sessionsOf(subject, group, 1);
    const { record } = await subject.created(subject.userDraft(group, { idleMs: 100 }));
    await subject.gone(record.key);
    expect(await enter(group, evict(2))).toMatchObject({ evicted: [], expired: [record.key.id] });
    expect(await subject.isLive(live)).toBe(true);
  });

  it.each(ways)('still tells who has run out after it has refused somebody, at %s', async (_, enter) => {
    const group = subject.group();
    await sessionsOf(subject, group, 1);
    const { record } = await subject.created(subject.userDraft(group, { idleMs: 100 }));
    await subject.gone(record.key);
    expect(await enter(group, reject(1))).toEqual({ outcome: 'refused' });
    expect(await subject.store.list(group)).toMatchObject({ expired: [record.key.id] });
  });

  it.each(ways)('is kept when many enter at once, at %s', async (_, enter) => {
    for (const limit of [reject(3), evict(3)]) {
      const group = subject.group();
      const outcomes = await Promise.all(Array.from({ length: 12 }, () => enter(group, limit)));
      const entered = outcomes.filter(({ outcome }) => outcome !== 'refused');
      expect(entered).toHaveLength(limit.policy === 'reject' ? 3 : 12);
      expect(await subject.listed(group)).toHaveLength(3);
    }
  });

  it('does not count the session that a login of the same user replaces', async () => {
    for (const limit of [reject(2), evict(2)]) {
      const group = subject.group();
      const [from, other] = await sessionsOf(subject, group, 2);
      const request = { from, draft: subject.userDraft(group), manner: 'login', limit } as const;
      expect(await subject.store.replace(request)).toMatchObject({ outcome: 'replaced', evicted: [] });
      expect((await subject.listed(group)).sort()).toEqual([other.id, request.draft.key.id].sort());
    }
  });

  it('does not count twice what was renewed, and does not concern a renewal', async () => {
    const group = subject.group();
    const [from] = await sessionsOf(subject, group, 2);
    const to = subject.draft({ key: subject.key(group) });
    expect(await subject.store.replace({ from, draft: to, manner: 'renew', limit: reject(1) })).toMatchObject({
      outcome: 'replaced',
    });
    expect(await subject.store.create({ ...draftIn(group), limit: reject(3) })).toMatchObject({ outcome: 'created' });
  });

  it('does not concern a session of nobody', async () => {
    const group = subject.group();
    await sessionsOf(subject, group, 1);
    const draft = subject.draft({ key: subject.key(group) });
    expect(await subject.store.create({ ...subject.creation(draft), limit: reject(1) })).toMatchObject({
      outcome: 'created',
    });
  });
}

type AtLeastThree = [SessionKey, SessionKey, SessionKey, ...SessionKey[]];

/** @param spacing `apart`: no two of one millisecond, so that it is clear which is older */
async function sessionsOf(
  subject: ContractSubject,
  group: string,
  count: number,
  spacing?: 'apart',
): Promise<AtLeastThree> {
  if (!spacing) {
    const made = await Promise.all(Array.from({ length: count }, () => subject.session(group)));
    return made as AtLeastThree;
  }
  const made: SessionKey[] = [];
  for (let index = 0; index < count; index += 1) {
    const { record } = await subject.created(subject.userDraft(group));
    made.push(record.key);
    await vi.waitFor(async () => {
      expect((await subject.look(record.key))?.readAt).toBeGreaterThan(record.createdAt + 1);
    }, POLL);
  }
  return made as AtLeastThree;
}
