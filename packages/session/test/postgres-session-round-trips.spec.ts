import 'reflect-metadata';
import {
  eventually,
  type PostgresServer,
  type StatementCounter,
  startPostgres,
  startStatementCounter,
} from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenPostgresStore, openPostgresStore } from './support/postgres-store.js';
import { anySave, userDraft, visitorDraft } from './support/session-drafts.js';

describe('sessions in Postgres, as the server counts', () => {
  let server: PostgresServer;
  let counter: StatementCounter;
  let opened: OpenPostgresStore;
  beforeAll(async () => {
    server = await startPostgres();
    counter = await startStatementCounter(server.url);
    opened = await openPostgresStore(counter.url);
    // What the first call of a process does besides.
    await opened.store.list('none');
  }, 60_000);
  afterAll(async () => {
    await opened.close();
    await counter.stop();
    await server.stop();
  });

  const counted = async (work: () => Promise<unknown>): Promise<number> => {
    await eventually(() => expect(counter.take()).toBe(0), { intervalMs: 100 });
    await work();
    return counter.take();
  };

  it('take one statement for every step, whether a use is noted or not', async () => {
    const { store } = opened;
    const [visitor, user, renewed] = [visitorDraft(), userDraft(), userDraft()];
    const { group } = user.key;
    const draft = { ...renewed, key: { id: renewed.key.id, group } };
    const limit = { sessions: 1, policy: 'evict-oldest' } as const;
    const save = {
      key: visitor.key,
      set: new Map([
        ['a', '1'],
        ['b', '2'],
      ]),
      remove: ['c'],
      save: anySave(),
    };
    const load = (key: typeof user.key, touchAfterMs: number) => store.load({ key, touchAfterMs });
    expect(await counted(() => store.create({ draft: visitor, attributes: new Map([['a', '0']]) }))).toBe(1);
    expect(await counted(() => load(visitor.key, 60_000))).toBe(1);
    expect(await counted(() => load(visitor.key, 0))).toBe(1);
    expect(await counted(() => load(userDraft().key, 0))).toBe(1);
    expect(await counted(() => store.save(save))).toBe(1);
    expect(await counted(() => store.save({ ...save, expect: { attribute: 'a', revision: 0 } }))).toBe(1);
    expect(await counted(() => store.replace({ from: visitor.key, draft: user, manner: 'login', limit }))).toBe(1);
    expect(await counted(() => store.create({ draft: userDraft(group), attributes: new Map(), limit }))).toBe(1);
    await store.create({ draft: user, attributes: new Map() });
    expect(await counted(() => store.replace({ from: user.key, draft, manner: 'renew', graceMs: 1_000 }))).toBe(1);
    expect(await counted(() => load(user.key, 0))).toBe(1);
    expect(await counted(() => load(draft.key, 0))).toBe(1);
    expect(await counted(() => store.list(group))).toBe(1);
    expect(await counted(() => store.remove({ group }))).toBe(1);
  });
});
