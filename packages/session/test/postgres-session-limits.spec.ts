import 'reflect-metadata';
import { type SeededRandom, seed, seededRandom, startStatementCounter } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { atIsolation, type OpenPostgresStore, openPostgresStore } from './support/postgres-store.js';
import { newGroup, userDraft, visitorDraft } from './support/session-drafts.js';

const NONE: ReadonlyMap<string, string> = new Map();
type Draft = ReturnType<typeof userDraft>;

describe('a limit of sessions in Postgres, in two processes', () => {
  const postgres = usePostgres();
  let stores: OpenPostgresStore[];
  beforeAll(async () => {
    stores = [await openPostgresStore(postgres.url), await openPostgresStore(postgres.url)];
  });
  afterAll(async () => {
    for (const each of stores) await each.close();
  });

  const pick = (random: SeededRandom) => random.pick(stores).store;

  it.each(['reject', 'evict-oldest'] as const)(
    'is kept by %s, whatever enters, moves on and leaves',
    async (policy) => {
      const random = seededRandom(seed());
      const limit = { sessions: 3, policy };
      for (let round = 0; round < 25; round += 1) {
        const [group, other] = [newGroup(), newGroup()];
        const enter = async (to: string, on: string | undefined): Promise<void> => {
          const [visitor, user] = [visitorDraft(), userDraft(to)];
          const store = pick(random);
          await store.create({ draft: visitor, attributes: NONE });
          const entered = await store.replace({ from: visitor.key, draft: user, manner: 'login', limit });
          expect(policy === 'reject' ? ['replaced', 'refused'] : ['replaced']).toContain(entered.outcome);
          if (on !== undefined) await store.replace({ from: user.key, draft: userDraft(on), manner: 'login', limit });
          const { sessions } = await pick(random).list(to);
          expect(sessions.length).toBeLessThanOrEqual(3);
        };
        const steps = [
          ...[1, 2, 3, 4].map(() => () => enter(group, undefined)),
          () => enter(group, other),
          () => enter(other, group),
          () => enter(other, undefined),
          () => pick(random).remove({ group }),
        ];
        await Promise.all(random.shuffle(steps).map((step) => step()));
        for (const each of [group, other]) {
          expect((await pick(random).list(each)).sessions.length).toBeLessThanOrEqual(3);
        }
      }
    },
  );

  it('lets nobody wait for one who waits for him, when two sessions take the place of each other', async () => {
    const limit = { sessions: 1, policy: 'evict-oldest' } as const;
    const counter = await startStatementCounter(postgres.url);
    const opened = await openPostgresStore(counter.url);
    try {
      for (let round = 0; round < 20; round += 1) {
        const [left, right] = [userDraft(), userDraft()];
        for (const draft of [left, right]) await opened.store.create({ draft, attributes: NONE });
        const swap = (from: Draft, { key }: Draft) =>
          opened.store.replace({ from: from.key, draft: userDraft(key.group), manner: 'login', limit });
        counter.take();
        const outcomes = await Promise.all([swap(left, right), swap(right, left)]);
        // One that had to give up would have been sent again.
        expect(counter.take()).toBe(2);
        // The first one evicts the other.
        expect(outcomes.map(({ outcome }) => outcome).toSorted()).toEqual(['gone', 'replaced']);
      }
    } finally {
      await opened.close();
      await counter.stop();
    }
  });

  it('is refused where it could not be kept: at isolation repeatable read', async () => {
    const opened = await openPostgresStore(atIsolation(postgres.url, 'repeatable read'));
    try {
      const limit = { sessions: 1, policy: 'reject' } as const;
      const create = opened.store.create({ draft: userDraft(), attributes: NONE, limit });
      await expect(create).rejects.toThrow('default_transaction_isolation');
    } finally {
      await opened.close();
    }
  });
});
