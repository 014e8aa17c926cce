import 'reflect-metadata';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenPostgresStore, openPostgresStore } from './support/postgres-store.js';
import { anySave, HOUR_MS, newGroup, userDraft, visitorDraft } from './support/session-drafts.js';

const NONE: ReadonlyMap<string, string> = new Map();

describe('sessions in Postgres', () => {
  const postgres = usePostgres();
  let opened: OpenPostgresStore;
  beforeAll(async () => {
    opened = await openPostgresStore(postgres.url);
  });
  afterAll(() => opened.close());

  const create = async (draft = visitorDraft(), attributes = NONE) => {
    const made = await opened.store.create({ draft, attributes });
    if (made.outcome !== 'created') throw new Error(made.outcome);
    return made.record;
  };
  const set = (key: { id: string; group: string }, name: string, text: string, save = anySave()) =>
    opened.store.save({ key, set: new Map([[name, text]]), remove: [], save });
  const look = (key: { id: string; group: string }, touchAfterMs = Number.POSITIVE_INFINITY) =>
    opened.store.load({ key, touchAfterMs });
  /** Time cannot be set at a server, but the last use can. */
  const passTime = (id: string, ms: number) =>
    opened.sql.execute(
      `UPDATE lockstep_session SET last_access_at = last_access_at - $2::float8 * interval '1 millisecond' WHERE id = $1`,
      [id, ms],
    );

  it('are read as they were made, by the clock of the database', async () => {
    const draft = userDraft(newGroup(), { meta: '{"ip":"::1"}' });
    const made = await create(
      draft,
      new Map([
        ['a', '1'],
        ['__proto__', '"x"'],
      ]),
    );
    expect(made).toMatchObject({ key: draft.key, principal: draft.principal, meta: draft.meta, idleMs: HOUR_MS });
    expect(made.version).toBe(1);
    expect(made.expiresAt - made.createdAt).toBe(draft.absoluteMs);
    expect([made.issuedAt, made.lastAccessAt]).toEqual([made.createdAt, made.createdAt]);
    const { readAt, ...rest } = made;
    const read = await look(draft.key);
    expect(read).toEqual({ ...rest, readAt: expect.any(Number) });
    expect(read?.readAt).toBeGreaterThanOrEqual(readAt);
    const attributes = Object.entries({ a: { text: '1', revision: 1 }, ['__proto__']: { text: '"x"', revision: 1 } });
    expect(read?.attributes).toEqual(new Map(attributes));
    expect((await create()).principal).toBeUndefined();
  });

  it('are made once by a create that is sent twice, also at the same time', async () => {
    const draft = userDraft();
    const limit = { sessions: 1, policy: 'reject' } as const;
    const request = { draft, attributes: new Map([['a', '1']]), limit };
    const answers = await Promise.all([1, 2, 3].map(() => opened.store.create(request)));
    for (const answer of answers) expect(answer).toMatchObject({ outcome: 'created', record: { key: draft.key } });
    expect((await opened.store.list(draft.key.group)).sessions).toHaveLength(1);
    const visitor = visitorDraft();
    const twins = [1, 2, 3].map(() => opened.store.create({ draft: visitor, attributes: NONE }));
    for (const twin of await Promise.all(twins)) expect(twin).toMatchObject({ outcome: 'created' });
  });

  it('note a use only when the last one is long enough ago, and write nothing otherwise', async () => {
    const { key, lastAccessAt } = await create();
    const trace = () =>
      opened.sql.query('SELECT ctid::text, xmin::text, xmax::text FROM lockstep_session WHERE id = $1', [key.id]);
    const before = await trace();
    expect((await look(key, 60_000))?.lastAccessAt).toBe(lastAccessAt);
    expect(await trace()).toEqual(before);
    await passTime(key.id, 61_000);
    const noted = await look(key, 60_000);
    expect(noted?.lastAccessAt).toBeGreaterThanOrEqual(lastAccessAt);
    await passTime(key.id, 61_000);
    expect((await look(key))?.lastAccessAt).toBe((noted?.lastAccessAt ?? 0) - 61_000);
  });

  it('that have run out are not readable, saved to, replaced, listed or counted, however long they are kept', async () => {
    const group = newGroup();
    const draft = userDraft(group);
    await create(draft);
    await passTime(draft.key.id, HOUR_MS + 1);
    expect(await look(draft.key, 0)).toBeUndefined();
    expect(await set(draft.key, 'a', '1')).toEqual({ outcome: 'gone' });
    for (const manner of ['login', 'reset', 'renew'] as const) {
      const replaced = await opened.store.replace({ from: draft.key, draft: userDraft(group), manner, graceMs: 1 });
      expect(replaced).toEqual({ outcome: 'gone' });
    }
    expect(await opened.store.remove({ group })).toEqual([]);
    const limit = { sessions: 1, policy: 'reject' } as const;
    const next = await opened.store.create({ draft: userDraft(group), attributes: NONE, limit });
    expect(next).toMatchObject({ outcome: 'created', evicted: [], expired: [draft.key.id] });
    expect((await opened.store.list(group)).expired).toEqual([]);
    const last = userDraft(group, { absoluteMs: 1 });
    await create(last);
    await eventually(async () => expect(await look(last.key)).toBeUndefined());
    expect(await opened.store.list(group)).toMatchObject({ sessions: [{}], expired: [last.key.id] });
    expect((await opened.store.list(group)).expired).toEqual([]);
  });

  it('keep everything but the id when they are renewed, and the old id leads to them until the grace has passed', async () => {
    const old = await create(userDraft(), new Map([['a', '1']]));
    const { group } = old.key;
    const [draft, other] = [userDraft(group), userDraft(group)];
    const answers = await Promise.all(
      [draft, draft, other].map((each) =>
        opened.store.replace({ from: old.key, draft: each, manner: 'renew', graceMs: 1 }),
      ),
    );
    const outcomes = answers.map(({ outcome }) => outcome);
    const [winner] = outcomes[2] === 'replaced' ? [other] : [draft];
    expect(outcomes).toEqual(
      winner === other ? ['renewed', 'renewed', 'replaced'] : ['replaced', 'replaced', 'renewed'],
    );
    const viaOld = await look(old.key, HOUR_MS);
    expect(viaOld).toMatchObject({ key: winner.key, createdAt: old.createdAt, expiresAt: old.expiresAt, version: 1 });
    expect(viaOld?.attributes).toEqual(old.attributes);
    expect(await set(old.key, 'a', '2')).toMatchObject({ outcome: 'saved', version: 2 });
    expect((await opened.store.list(group)).sessions.map(({ key }) => key)).toEqual([winner.key]);
    // Only looking is no use.
    await look(winner.key);
    expect(await look(old.key)).toBeDefined();
    expect(await look(winner.key, HOUR_MS)).toMatchObject({ key: winner.key });
    await eventually(async () => expect(await look(old.key)).toBeUndefined());
    expect(await look(winner.key)).toBeDefined();
  });

  it('take every step by itself, also while the caller has a transaction that is rolled back', async () => {
    const draft = visitorDraft();
    const failure = new Error('no');
    const transaction = opened.sql.transaction(async () => {
      await create(draft);
      await set(draft.key, 'a', '1');
      throw failure;
    });
    await expect(transaction).rejects.toBe(failure);
    expect((await look(draft.key))?.version).toBe(2);
  });

  it('write to the log what changes, not the whole session', async () => {
    const attributes = new Map(Array.from({ length: 64 }, (_, n) => [`a${n}`, anySave().padEnd(1_024, anySave())]));
    const { key } = await create(visitorDraft(), attributes);
    const position = async () =>
      Number(
        (await opened.sql.query<{ at: string }>(`SELECT (pg_current_wal_insert_lsn() - '0/0')::text AS at`))[0]?.at,
      );
    const sizes: number[] = [];
    for (let n = 0; n < 20; n += 1) {
      const before = await position();
      await set(key, 'a7', anySave().padEnd(1_024, anySave()));
      sizes.push((await position()) - before);
    }
    // Others use the server as well, and the first change of a page after a checkpoint logs the page.
    expect(Math.min(...sizes)).toBeLessThan(4_096);
  });

  it('change no index when a use is noted or an attribute is saved', async () => {
    const { key } = await create(visitorDraft(), new Map([['a', '1']]));
    const updates = async () => {
      const [row] = await opened.sql.query<{ all: string; hot: string }>(`SELECT sum(n_tup_upd)::text AS all,
        sum(n_tup_hot_upd)::text AS hot FROM pg_stat_user_tables WHERE relname LIKE 'lockstep_session%'`);
      return { all: Number(row?.all), hot: Number(row?.hot) };
    };
    // The server tells of what a connection did about once a second.
    let before = await updates();
    await eventually(
      async () => {
        const last = before;
        before = await updates();
        expect(before).toEqual(last);
      },
      { intervalMs: 1_500, timeoutMs: 10_000 },
    );
    for (let n = 0; n < 20; n += 1) {
      await look(key, 0);
      await set(key, 'a', String(n));
    }
    await eventually(
      async () => {
        const { all, hot } = await updates();
        expect(all - before.all).toBeGreaterThanOrEqual(60);
        // One that finds its page full goes elsewhere.
        expect(hot - before.hot).toBeGreaterThanOrEqual(0.9 * (all - before.all));
      },
      { timeoutMs: 10_000 },
    );
  });
});
