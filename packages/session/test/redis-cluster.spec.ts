import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import type { RedisConnection } from '@lockstep/redis';
import type { ReplaceRequest, SessionKey } from '@lockstep/session';
import { describeSessionStoreContract } from '@lockstep/session/contract';
import { RedisSessionStore } from '@lockstep/session/redis';
import { type RedisCluster, startRedisCluster } from '@lockstep/testing';
import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { indexKey, sessionKey } from './support/redis-keys.js';
import { type OpenRedisStores, openRedisStores } from './support/redis-store.js';
import { newGroup, saveOf, userDraft, visitorDraft } from './support/session-drafts.js';
import { type Insides } from './support/stepped-store.js';

let cluster: RedisCluster;
let client: Cluster;
beforeAll(async () => {
  cluster = await startRedisCluster();
  client = new Cluster([...cluster.urls]);
}, 60_000);
afterAll(async () => {
  client?.disconnect();
  await cluster?.stop();
});

describeSessionStoreContract({ name: 'redis cluster', open: () => openRedisStores(client, 'contract') });

describe('a login into another slot of a Cluster', () => {
  let opened: OpenRedisStores;
  beforeAll(async () => {
    opened = await openRedisStores(client, 'cluster');
  });
  afterAll(() => opened.close());

  const visitor = async (): Promise<SessionKey> => {
    const draft = visitorDraft();
    await opened.store.create({ draft, attributes: new Map([['cart', '1']]) });
    return draft.key;
  };
  const isLive = async (key: SessionKey) =>
    (await opened.another.load({ key, touchAfterMs: Number.POSITIVE_INFINITY })) !== undefined;
  const pttl = async (redis: RedisConnection, key: string) => Number(await redis.command('test', 'pttl', key));

  it('leaves no key without an end, and no old id that could be used', async () => {
    const from = await visitor();
    const draft = userDraft(newGroup());
    const { redis, store } = opened;
    expect(redis.sharesSlot([sessionKey(redis, from), sessionKey(redis, draft.key)])).toBe(false);
    expect(await store.replace({ from, draft, manner: 'login' })).toMatchObject({ outcome: 'replaced' });
    for (const key of [sessionKey(redis, from), sessionKey(redis, draft.key), indexKey(redis, draft.key.group)]) {
      expect(await pttl(redis, key)).toBeGreaterThan(0);
    }
    expect(await isLive(from)).toBe(false);
    expect(await store.save(saveOf(from, { cart: '2' }))).toEqual({ outcome: 'gone' });
  });

  it('goes on where it was when it is sent again after it was left half done', async () => {
    const from = await visitor();
    const draft = userDraft(newGroup());
    await crashAfterCopy(opened, { from, draft, manner: 'login' });
    expect(await isLive(from)).toBe(true);
    await opened.another.save(saveOf(from, { later: '1' }));
    const limit = { sessions: 1, policy: 'reject' } as const;
    const again = await opened.store.replace({ from, draft, manner: 'login', limit });
    expect(again).toMatchObject({ outcome: 'replaced' });
    expect(again.outcome === 'replaced' && [...again.record.attributes.keys()].sort()).toEqual(['cart', 'later']);
    expect(await isLive(from)).toBe(false);
  });

  it('is undone where the old session ended after it was left half done', async () => {
    const from = await visitor();
    const draft = userDraft(newGroup());
    await crashAfterCopy(opened, { from, draft, manner: 'login' });
    await opened.another.remove({ group: from.group, ids: [from.id] });
    expect(await opened.store.replace({ from, draft, manner: 'login' })).toEqual({ outcome: 'gone' });
    expect([await isLive(draft.key), await isLive(from)]).toEqual([false, false]);
    expect(await opened.store.list(draft.key.group)).toMatchObject({ sessions: [] });
  });

  it('does not bring back a copy that a removal of all has ended while it was on its way', async () => {
    for (let round = 0; round < 30; round += 1) {
      const from = await visitor();
      const draft = userDraft(newGroup());
      const [removed] = await Promise.all([
        removeUntilFound(draft.key.group),
        opened.store.replace({ from, draft, manner: 'login' }),
        ...Array.from({ length: 4 }, () => opened.another.save(saveOf(from, { [name()]: '1' }))),
      ]);
      expect(removed).toEqual([draft.key.id]);
      expect(await isLive(draft.key)).toBe(false);
      expect(await opened.store.list(draft.key.group)).toMatchObject({ sessions: [] });
    }
  });

  async function removeUntilFound(group: string): Promise<readonly string[]> {
    for (let attempt = 0; attempt < 200; attempt += 1) {
      const removed = await opened.another.remove({ group });
      if (removed.length > 0) return removed;
    }
    throw new Error('nothing came');
  }
});

function name(): string {
  return randomBytes(6).toString('base64url');
}

/** The process that logs in dies when the copy is made: the step after it is never sent. */
async function crashAfterCopy({ redis, incidents }: OpenRedisStores, request: ReplaceRequest): Promise<void> {
  const dying = new RedisSessionStore(redis, incidents);
  (dying as unknown as Insides).move.steps.leave = { run: () => Promise.reject(new Error('the process is dead')) };
  await expect(dying.replace(request)).rejects.toThrow('the process is dead');
}
