import 'reflect-metadata';
import { describeSessionStoreContract } from '@lockstep/session/contract';
import { eventually, type RedisSentinel, startRedisSentinel } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRedisStore, openRedisStores } from './support/redis-store.js';
import { endlessKeys } from './support/redis-ttls.js';
import { newGroup, saveOf, userDraft, visitorDraft } from './support/session-drafts.js';

let group: RedisSentinel;
let client: Redis;
beforeAll(async () => {
  group = await startRedisSentinel({ args: ['--repl-diskless-sync-delay', '0'] });
  client = new Redis({ sentinels: [...group.sentinels], name: group.name, lazyConnect: true });
}, 60_000);
afterAll(async () => {
  client?.disconnect();
  await group?.stop();
});

describeSessionStoreContract({ name: 'redis behind sentinels', open: () => openRedisStores(client, 'contract') });

describe('a failover', () => {
  const PATIENCE = { timeoutMs: 30_000, intervalMs: 100 };

  it('keeps sessions, their ends and their lists that the replica had, and still tells who watches', {
    timeout: 90_000,
  }, async () => {
    const { store, redis, close } = await openRedisStore(client, 'sentinel');
    const user = newGroup();
    const [kept, ended, visitor] = [userDraft(user), userDraft(user), visitorDraft()];
    for (const draft of [kept, ended, visitor]) await store.create({ draft, attributes: new Map([['cart', '1']]) });
    const request = saveOf(kept.key, { cart: '2' });
    const saved = await store.save(request);
    const login = userDraft(user);
    await store.replace({ from: visitor.key, draft: login, manner: 'login' });
    await store.remove({ group: user, ids: [ended.key.id] });
    let told = 0;
    const leave = await store.watch(kept.key, () => {
      told += 1;
    });
    await redis.command('test', 'wait', 1, 1_000);
    await group.failover();

    // A load that met the old master is tried again by its caller.
    const found = await eventually(async () => {
      const record = await store.load({ key: kept.key, touchAfterMs: 0 });
      expect(record).toBeDefined();
      return record;
    }, PATIENCE);
    expect(found?.attributes.get('cart')?.text).toBe('2');
    expect(await store.save(request)).toEqual(saved);
    expect(await store.load({ key: ended.key, touchAfterMs: 0 })).toBeUndefined();
    expect(await store.load({ key: visitor.key, touchAfterMs: 0 })).toBeUndefined();
    const { sessions } = await store.list(user);
    expect(sessions.map(({ key }) => key.id).sort()).toEqual([kept.key.id, login.key.id].sort());
    expect(await endlessKeys(redis)).toEqual([]);

    // Whoever watches hears of it now, or when his channel stands again.
    await store.remove({ group: user, ids: [kept.key.id] });
    await eventually(() => expect(told).toBe(1), PATIENCE);
    await leave();
    await close();
  });
});
