import 'reflect-metadata';
import type { SessionKey } from '@lockstep/session';
import { type RedisCluster, startRedisCluster } from '@lockstep/testing';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { indexKey, sessionKey } from './support/redis-keys.js';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';
import { newGroup, newKey, saveOf, userDraft, visitorDraft } from './support/session-drafts.js';

const LOOK = Number.POSITIVE_INFINITY;
let cluster: RedisCluster;
let client: Cluster;
let servers: readonly Redis[];
let opened: OpenRedisStore;
beforeAll(async () => {
  cluster = await startRedisCluster();
  client = new Cluster([...cluster.urls]);
  servers = cluster.urls.map((url) => new Redis(url));
  opened = await openRedisStore(client, 'resharding');
}, 60_000);
afterAll(async () => {
  await opened?.close();
  client?.disconnect();
  for (const server of servers ?? []) server.disconnect();
  await cluster?.stop();
});

/** A slot on its way from one server to another, key by key. */
class MovingSlot {
  private constructor(
    private readonly slot: number,
    private readonly from: Redis,
    private readonly to: Redis,
  ) {}

  static async of(key: string): Promise<MovingSlot> {
    const slot = Number(await servers[0]?.cluster('KEYSLOT', key));
    // Three masters have a third of the slots each, in their order.
    const owner = Math.floor((slot * 3) / 16_384);
    const [from, to] = [servers[owner] as Redis, servers[(owner + 1) % 3] as Redis];
    await to.cluster('SETSLOT', slot, 'IMPORTING', String(await from.cluster('MYID')));
    await from.cluster('SETSLOT', slot, 'MIGRATING', String(await to.cluster('MYID')));
    return new MovingSlot(slot, from, to);
  }

  async move(...keys: readonly string[]): Promise<void> {
    const { host = '', port = 0 } = this.to.options;
    for (const key of keys) await this.from.migrate(host, port, key, 0, 5_000);
  }

  async finish(): Promise<void> {
    const owner = String(await this.to.cluster('MYID'));
    for (const server of [this.to, this.from]) await server.cluster('SETSLOT', this.slot, 'NODE', owner);
  }
}

describe('while a slot of a Cluster is on its way to another server', () => {
  const isLive = async (key: SessionKey) => (await opened.store.load({ key, touchAfterMs: LOOK })) !== undefined;
  const login = async (group: string): Promise<SessionKey> => {
    const draft = userDraft(group);
    await opened.store.create({ draft, attributes: new Map() });
    return draft.key;
  };

  it('a removal of all ends no session in name only: it fails, and ends them when it is sent again', async () => {
    const group = newGroup();
    const keys = [await login(group), await login(group)];
    const moving = await MovingSlot.of(indexKey(opened.redis, group));
    await moving.move(indexKey(opened.redis, group), sessionKey(opened.redis, keys[0] as SessionKey));
    await expect(opened.store.remove({ group })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await moving.move(sessionKey(opened.redis, keys[1] as SessionKey));
    await moving.finish();
    expect([...(await opened.store.remove({ group }))].sort()).toEqual(keys.map(({ id }) => id).sort());
    expect(await Promise.all(keys.map(isLive))).toEqual([false, false]);
  });

  it('a logout of a session that has not arrived yet is not taken for done', async () => {
    const draft = visitorDraft();
    await opened.store.create({ draft, attributes: new Map() });
    const { id, group } = draft.key;
    const moving = await MovingSlot.of(sessionKey(opened.redis, draft.key));
    await expect(opened.store.remove({ group, ids: [id] })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await moving.move(sessionKey(opened.redis, draft.key));
    await moving.finish();
    expect(await opened.store.remove({ group, ids: [id] })).toEqual([id]);
  });

  it('a list takes no session that has not arrived yet for one that has run out (C7)', async () => {
    const group = newGroup();
    const key = await login(group);
    const moving = await MovingSlot.of(indexKey(opened.redis, group));
    await moving.move(indexKey(opened.redis, group));
    await expect(opened.store.list(group)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await moving.move(sessionKey(opened.redis, key));
    await moving.finish();
    expect(await opened.store.list(group)).toMatchObject({ sessions: [{ key }], expired: [] });
  });

  it.each(['source', 'target'] as const)(
    'nobody is logged out whose old id is on the %s of the move, and whose new one is not',
    async (place) => {
      const group = newGroup();
      const key = await login(group);
      const next = userDraft(group, { key: newKey(group) });
      await opened.store.replace({ from: key, draft: next, manner: 'renew', graceMs: 60_000 });
      const [oldKey, newOne] = [sessionKey(opened.redis, key), sessionKey(opened.redis, next.key)];
      const moving = await MovingSlot.of(oldKey);
      await moving.move(place === 'source' ? newOne : oldKey);
      const failed = { code: 'STORE_UNAVAILABLE' };
      await expect(opened.store.load({ key, touchAfterMs: LOOK })).rejects.toMatchObject(failed);
      await expect(opened.store.save(saveOf(key, { cart: '1' }))).rejects.toMatchObject(failed);
      await moving.move(place === 'source' ? oldKey : newOne, indexKey(opened.redis, group));
      await moving.finish();
      expect(await opened.store.load({ key, touchAfterMs: LOOK })).toMatchObject({ key: next.key });
    },
  );
});
