import 'reflect-metadata';
import type { ReplaceRequest, SessionKey } from '@lockstep/session';
import { seed, seededRandom } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { atIsolation, type OpenPostgresStore, openPostgresStore } from './support/postgres-store.js';
import { anySave, HOUR_MS, newGroup, userDraft, visitorDraft } from './support/session-drafts.js';

const NONE: ReadonlyMap<string, string> = new Map();
const LOOK = Number.POSITIVE_INFINITY;
type Draft = ReturnType<typeof userDraft>;

describe.each([
  { level: 'read committed', rounds: 40 },
  { level: 'repeatable read', rounds: 15 },
  { level: 'serializable', rounds: 15 },
])('sessions in a Postgres at $level, in two processes', ({ level, rounds }) => {
  const postgres = usePostgres();
  let one: OpenPostgresStore;
  let two: OpenPostgresStore;
  beforeAll(async () => {
    const url = atIsolation(postgres.url, level);
    [one, two] = [await openPostgresStore(url), await openPostgresStore(url)];
    const [row] = await one.sql.query<{ level: string }>(`SELECT current_setting('transaction_isolation') AS level`);
    expect(row?.level).toBe(level);
  });
  afterAll(async () => {
    await one.close();
    await two.close();
  });

  const isLive = async (key: SessionKey) => (await two.store.load({ key, touchAfterMs: LOOK })) !== undefined;
  const listed = async (group: string) => (await two.store.list(group)).sessions.map(({ key }) => key.id).toSorted();
  const live = async (keys: readonly SessionKey[]) => {
    const found: string[] = [];
    for (const key of keys) if (await isLive(key)) found.push(key.id);
    return found.toSorted();
  };

  it('are all ended when the removal of all is answered, however fast they are renewed and logged in again (C6)', async () => {
    for (let round = 0; round < rounds; round += 1) {
      const group = newGroup();
      const keys: SessionKey[] = [];
      const fleeing = async (manner: ReplaceRequest['manner']): Promise<void> => {
        let from = userDraft(group).key;
        keys.push(from);
        await one.store.create({ draft: userDraft(group, { key: from }), attributes: NONE });
        started();
        for (;;) {
          const draft = userDraft(group);
          keys.push(draft.key);
          const { outcome } = await one.store.replace({ from, draft, manner, graceMs: HOUR_MS });
          if (outcome !== 'replaced') return;
          from = draft.key;
        }
      };
      let waiting = 3;
      let allStarted = (): void => undefined;
      const ready = new Promise<void>((resolve) => {
        allStarted = resolve;
      });
      const started = (): void => {
        waiting -= 1;
        if (waiting === 0) allStarted();
      };
      const runs = (['renew', 'login', 'reset'] as const).map(fleeing);
      await ready;
      const removed = await two.store.remove({ group });
      expect(removed).toHaveLength(3);
      expect(await listed(group)).toEqual([]);
      await Promise.all(runs);
      expect(await live(keys)).toEqual([]);
    }
  });

  it('are alive exactly where the list of their user names them, when logins race removals (C7)', async () => {
    const random = seededRandom(seed());
    for (let round = 0; round < rounds; round += 1) {
      const group = newGroup();
      const keys: SessionKey[] = [];
      const enter = async (store = random.pick([one, two]).store): Promise<void> => {
        const [visitor, user, again] = [visitorDraft(), userDraft(group), userDraft(group)];
        keys.push(user.key, again.key);
        await store.create({ draft: visitor, attributes: NONE });
        await store.replace({ from: visitor.key, draft: user, manner: 'login' });
        await store.replace({ from: user.key, draft: again, manner: random.pick(['renew', 'login']), graceMs: 0 });
        // The old id of a renewal is another name for the same session.
        await store.load({ key: again.key, touchAfterMs: 0 });
      };
      const leave = (): Promise<unknown> => random.pick([one, two]).store.remove({ group });
      const steps = [enter, enter, leave, enter, leave, enter];
      await Promise.all(random.shuffle(steps).map((step) => step()));
      const found = await listed(group);
      expect(await live(keys.filter(({ id }) => found.includes(id)))).toEqual(found);
      expect(await live(keys.filter(({ id }) => !found.includes(id)))).toEqual([]);
      await one.store.remove({ group });
      expect(await live(keys)).toEqual([]);
    }
  });

  it('are never shown to who comes by an id from before the login, at the very moment of it (fixation)', async () => {
    for (let round = 0; round < rounds; round += 1) {
      const [visitor, user] = [visitorDraft(), userDraft()];
      const renewed = visitorDraft({ key: { id: userDraft().key.id, group: visitor.key.group } });
      await one.store.create({ draft: visitor, attributes: NONE });
      await one.store.replace({ from: visitor.key, draft: renewed, manner: 'renew', graceMs: HOUR_MS });
      const secret = { key: user.key, set: new Map([['secret', '1']]), remove: [], save: anySave() };
      const login = one.store
        .replace({ from: renewed.key, draft: user, manner: 'login' })
        .then(() => one.store.save(secret));
      const looks = [visitor.key, renewed.key, visitor.key, renewed.key].map((key, place) =>
        two.store.load({ key, touchAfterMs: place < 2 ? 0 : LOOK }),
      );
      for (const record of await Promise.all(looks)) {
        expect(record?.key.id ?? renewed.key.id).toBe(renewed.key.id);
        expect(record?.principal).toBeUndefined();
        expect([...(record?.attributes.keys() ?? [])]).toEqual([]);
      }
      await login;
    }
  });

  it('take nothing that is saved by an id from before a reset, once they are reset', async () => {
    for (let round = 0; round < rounds; round += 1) {
      const { group } = visitorDraft().key;
      const [old, renewed, fresh] = [1, 2, 3].map(() => userDraft(group)) as [Draft, Draft, Draft];
      await one.store.create({ draft: old, attributes: NONE });
      await one.store.replace({ from: old.key, draft: renewed, manner: 'renew', graceMs: HOUR_MS });
      const save = (key: SessionKey) =>
        two.store.save({ key, set: new Map([['stale', '1']]), remove: [], save: anySave() });
      const [replaced] = await Promise.all([
        one.store.replace({ from: renewed.key, draft: fresh, manner: 'reset' }),
        ...[old, renewed, old, old].map(({ key }) => save(key)),
      ]);
      expect(replaced.outcome).toBe('replaced');
      expect((await one.store.load({ key: fresh.key, touchAfterMs: LOOK }))?.attributes).toEqual(NONE);
    }
  });

  it('are not ended with those of a user whom they have left by then', async () => {
    for (let round = 0; round < rounds; round += 1) {
      const [group, other] = [newGroup(), newGroup()];
      const drafts = [1, 2, 3].map(() => userDraft(group));
      for (const draft of drafts) await one.store.create({ draft, attributes: NONE });
      const leave = drafts.map(async ({ key }) => {
        const draft = userDraft(other);
        const { outcome } = await one.store.replace({ from: key, draft, manner: 'login' });
        return outcome === 'replaced' ? [draft.key] : [];
      });
      const removed = two.store.remove({ group });
      const left = (await Promise.all(leave)).flat();
      expect((await removed).length + left.length).toBe(3);
      expect(await live(left)).toHaveLength(left.length);
    }
  });

  it('are read as one save left them, never half of one', async () => {
    const { key } = visitorDraft();
    await one.store.create({
      draft: visitorDraft({ key }),
      attributes: new Map([
        ['a', '0'],
        ['b', '0'],
      ]),
    });
    const told = { stop: false };
    const write = async (): Promise<void> => {
      for (let n = 1; n <= 10 * rounds; n += 1) {
        const set = new Map([
          ['a', String(n)],
          ['b', String(n)],
        ]);
        expect(await one.store.save({ key, set, remove: [], save: anySave() })).toMatchObject({ version: n + 1 });
      }
      told.stop = true;
    };
    const read = async (touchAfterMs: number): Promise<void> => {
      while (!told.stop) {
        const record = await two.store.load({ key, touchAfterMs });
        const [a, b] = [record?.attributes.get('a'), record?.attributes.get('b')];
        expect(a).toEqual(b);
        expect(a?.revision).toBe(record?.version);
      }
    };
    await Promise.all([write(), read(LOOK), read(LOOK), read(LOOK), read(0)]);
  });
});
