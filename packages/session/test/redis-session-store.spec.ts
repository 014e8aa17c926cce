import 'reflect-metadata';
import type { SessionKey } from '@lockstep/session';
import { describeSessionStoreContract } from '@lockstep/session/contract';
import { eventually, type RedisCommandCounter } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countCommandsOf } from './support/count-commands.js';
import { indexKey, sessionKey } from './support/redis-keys.js';
import { type OpenRedisStore, openRedisStore, openRedisStores } from './support/redis-store.js';
import { endlessKeys, ttlsOf } from './support/redis-ttls.js';
import { HOUR_MS, newGroup, newKey, saveOf, userDraft, visitorDraft } from './support/session-drafts.js';

const server = useRedis();

describeSessionStoreContract({ name: 'redis', open: () => openRedisStores(server.url, `${server.prefix}c`) });

describe('RedisSessionStore', () => {
  let opened: OpenRedisStore;
  let counter: RedisCommandCounter;
  beforeAll(async () => {
    opened = await openRedisStore(server.url, server.prefix);
    counter = await countCommandsOf(opened.redis, server.url);
  });
  afterAll(async () => {
    counter.stop();
    await opened.close();
  });

  const command = (name: string, ...args: (string | number)[]) => opened.redis.command('test', name, ...args);
  const visitor = async (attributes: Readonly<Record<string, string>> = {}): Promise<SessionKey> => {
    const draft = visitorDraft();
    await opened.store.create({ draft, attributes: new Map(Object.entries(attributes)) });
    return draft.key;
  };

  /** What one call costs at the server, once the script is known there. */
  const commandsOf = async (call: () => Promise<unknown>): Promise<readonly string[]> => {
    await call();
    await counter.reset();
    await call();
    return counter.commands();
  };

  it('sends one command for each step: load, touch, save, create, login of another group, renewal, list and removal', async () => {
    const { store } = opened;
    const group = newGroup();
    const limit = { sessions: 3, policy: 'evict-oldest' } as const;
    const key = await visitor({ cart: '1' });
    let from = await visitor();
    const steps = {
      load: () => store.load({ key, touchAfterMs: HOUR_MS }),
      touch: () => store.load({ key, touchAfterMs: 0 }),
      save: () => store.save(saveOf(key, { cart: '2' })),
      create: () => store.create({ draft: userDraft(group), attributes: new Map([['a', '1']]), limit }),
      login: async () => {
        const draft = userDraft(newGroup());
        await store.replace({ from, draft, manner: 'login', limit });
        from = draft.key;
      },
      renew: async () => {
        const draft = visitorDraft({ key: newKey(from.group) });
        await store.replace({ from, draft, manner: 'renew', graceMs: 1_000 });
        from = draft.key;
      },
      list: () => store.list(group),
      remove: () => store.remove({ group }),
    };
    for (const [step, call] of Object.entries(steps))
      expect([step, await commandsOf(call)]).toEqual([step, ['EVALSHA']]);
  });

  it('sends the concurrent loads of a tick as one command', async () => {
    const keys = await Promise.all(Array.from({ length: 20 }, () => visitor({ cart: '1' })));
    const loads = () => Promise.all(keys.map((key) => opened.store.load({ key, touchAfterMs: HOUR_MS })));
    expect(await commandsOf(loads)).toEqual(['EVALSHA']);
    expect((await loads()).map((record) => record?.attributes.get('cart')?.text)).toEqual(keys.map(() => '1'));
  });

  it('writes nothing while a use need not be noted', async () => {
    const key = await visitor();
    // Others write to the same server at the same time, so it is the hash that is asked.
    const state = async () => [
      await command('hgetall', sessionKey(opened.redis, key)),
      await command('object', 'encoding', sessionKey(opened.redis, key)),
    ];
    const before = await state();
    await opened.store.load({ key, touchAfterMs: HOUR_MS });
    expect(await state()).toEqual(before);
  });

  it('keeps a session as the README says: one hash and, for a user, his index', async () => {
    const group = newGroup();
    const draft = userDraft(group, { idleMs: 60_000, absoluteMs: 3_600_000, meta: '{"ip":"::1"}' });
    const created = await opened.store.create({ draft, attributes: new Map([['cart', '[1]']]) });
    if (created.outcome !== 'created') throw new Error(created.outcome);
    const { createdAt, expiresAt } = created.record;
    const key = sessionKey(opened.redis, draft.key);
    expect(await command('hgetall', key)).toEqual({
      h: `${createdAt} ${createdAt} ${expiresAt} 60000`,
      t: String(createdAt),
      v: '1',
      m: '{"ip":"::1"}',
      p: '{"id":"anna"}',
      'a:cart': '1:[1]',
    });
    expect(await command('zrange', indexKey(opened.redis, group), 0, -1, 'WITHSCORES')).toEqual([
      draft.key.id,
      String(expiresAt),
    ]);
    expect(await command('pttl', key)).toBeLessThanOrEqual(60_000);
    const indexTtl = Number(await command('pttl', indexKey(opened.redis, group)));
    expect(indexTtl).toBeGreaterThan(3_600_000 - 60_000);
    expect(indexTtl).toBeLessThanOrEqual(3_600_000);
  });

  it('lets no use put the end of the key off beyond the absolute end', async () => {
    const draft = visitorDraft({ idleMs: HOUR_MS, absoluteMs: 5_000 });
    await opened.store.create({ draft, attributes: new Map() });
    await opened.store.load({ key: draft.key, touchAfterMs: 0 });
    await opened.store.save(saveOf(draft.key, { a: '1' }));
    expect(await command('pttl', sessionKey(opened.redis, draft.key))).toBeLessThanOrEqual(5_000);
  });

  it('keeps the index as long as the session of it that can last longest', async () => {
    const group = newGroup();
    const [long, short] = [userDraft(group, { absoluteMs: HOUR_MS }), userDraft(group, { absoluteMs: 1_000 })];
    await opened.store.create({ draft: long, attributes: new Map() });
    await opened.store.create({ draft: short, attributes: new Map() });
    expect(await command('pttl', indexKey(opened.redis, group))).toBeGreaterThan(HOUR_MS / 2);
  });

  it('has no key without an end, whatever was done', async () => {
    const own = await openRedisStore(server.url, `${server.prefix}ttl`);
    const { store } = own;
    const group = newGroup();
    const one = visitorDraft();
    await store.create({ draft: one, attributes: new Map([['a', '1']]) });
    await store.save(saveOf(one.key, { b: '1' }));
    await store.load({ key: one.key, touchAfterMs: 0 });
    const two = visitorDraft({ key: newKey(one.key.group) });
    await store.replace({ from: one.key, draft: two, manner: 'renew', graceMs: 1_000 });
    const three = userDraft(group);
    await store.load({ key: one.key, touchAfterMs: 0 });
    await store.load({ key: two.key, touchAfterMs: 0 });
    await store.replace({ from: two.key, draft: three, manner: 'login' });
    await store.create({ draft: userDraft(group), attributes: new Map() });
    expect((await ttlsOf(own.redis)).size).toBeGreaterThanOrEqual(4);
    expect(await endlessKeys(own.redis)).toEqual([]);
    await own.close();
  });

  it('leaves nothing behind once all sessions have ended, by removal or by themselves', async () => {
    const own = await openRedisStore(server.url, `${server.prefix}end`);
    const { store } = own;
    const group = newGroup();
    for (let index = 0; index < 10; index += 1) {
      const absoluteMs = index % 2 === 0 ? HOUR_MS : 200;
      await store.create({ draft: userDraft(group, { absoluteMs }), attributes: new Map([['a', '1']]) });
    }
    await store.remove({ group });
    expect(await own.redis.command('test', 'exists', indexKey(own.redis, group))).toBe(0);
    await store.create({ draft: userDraft(group, { absoluteMs: 200 }), attributes: new Map() });
    await eventually(async () => expect([...(await ttlsOf(own.redis)).keys()]).toEqual([]));
    await own.close();
  });

  it('does not let the index fill with what has run out, where there is no limit', async () => {
    const group = newGroup();
    for (let round = 0; round < 6; round += 1) {
      const drafts = Array.from({ length: 10 }, () => userDraft(group, { idleMs: 50 }));
      await Promise.all(drafts.map((draft) => opened.store.create({ draft, attributes: new Map() })));
      await eventually(async () => {
        for (const { key } of drafts) {
          expect(await opened.store.load({ key, touchAfterMs: Number.POSITIVE_INFINITY })).toBeUndefined();
        }
      });
    }
    expect(await command('zcard', indexKey(opened.redis, group))).toBeLessThanOrEqual(20);
  });

  it('takes every step for a user without a right to channels, and refuses it a watch', async () => {
    const name = `quiet-${newGroup()}`;
    await command('acl', 'setuser', name, 'on', '>quiet', '~*', '+@all', 'resetchannels');
    const url = new URL(server.url);
    [url.username, url.password] = [name, 'quiet'];
    const quiet = await openRedisStore(url.href, server.prefix);
    const draft = userDraft();
    await quiet.store.create({ draft: visitorDraft({ key: newKey() }), attributes: new Map() });
    const from = await visitor({ cart: '1' });
    expect(await quiet.store.replace({ from, draft, manner: 'login' })).toMatchObject({ outcome: 'replaced' });
    const renewed = userDraft(draft.key.group);
    const renewal = { from: draft.key, draft: renewed, manner: 'renew', graceMs: 1_000 } as const;
    expect(await quiet.store.replace(renewal)).toMatchObject({ outcome: 'replaced' });
    await expect(quiet.store.watch(renewed.key, () => undefined)).rejects.toThrow();
    expect(await quiet.store.remove({ group: draft.key.group })).toEqual([renewed.key.id]);
    await quiet.close();
    await command('acl', 'deluser', name);
  });

  it('fails alone where a key holds something foreign', async () => {
    const [good, bad] = [await visitor(), newKey()];
    await command('set', sessionKey(opened.redis, bad), 'not a hash', 'PX', 10_000);
    const [one, other] = await Promise.allSettled([
      opened.store.load({ key: bad, touchAfterMs: 0 }),
      opened.store.load({ key: good, touchAfterMs: 0 }),
    ]);
    expect(one).toMatchObject({ status: 'rejected', reason: { code: 'REDIS_SCRIPT_FAILED' } });
    expect(other).toMatchObject({ status: 'fulfilled', value: { key: good } });
  });
});
