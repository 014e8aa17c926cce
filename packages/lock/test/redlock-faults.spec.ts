import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { monotonicMs } from '@lockstep/core';
import { redlockStore } from '@lockstep/lock/redlock';
import { eventually, type RedisServer, startFaultProxy } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hold, pass, plantVote, recovered, votersOf, votesAt, wish } from './support/redlock-nodes.js';
import { nodesOf, type OpenedRedlock, openRedlock, startNodes } from './support/redlock-servers.js';

const TIMEOUT_MS = 300;
const NONE = [undefined, undefined, undefined, undefined, undefined];
const namespace = `t${randomUUID()}`;
let servers: RedisServer[];
let opened: OpenedRedlock;
/** Another process, with time to spare. */
let witness: OpenedRedlock;

beforeAll(async () => {
  servers = await startNodes(5);
  const nodes = nodesOf(servers);
  witness = await openRedlock(redlockStore({ nodes, namespace, commandTimeout: '3s' }));
});
beforeEach(async () => {
  opened = await openRedlock(redlockStore({ nodes: nodesOf(servers), namespace, commandTimeout: TIMEOUT_MS }));
  await recovered(servers, opened);
});
afterEach(async () => {
  await recovered(servers, witness);
  await opened.close();
});
afterAll(async () => {
  await witness.close();
  await Promise.all(servers.map((server) => server.stop()));
});

function first(count: number): readonly RedisServer[] {
  return servers.slice(0, count);
}

function pause(count: number): void {
  for (const server of first(count)) server.pause();
}

function resume(): void {
  for (const server of servers) server.resume();
}

async function kill(count: number): Promise<void> {
  await Promise.all(first(count).map((server) => server.kill()));
}

async function forgets(key: string): Promise<void> {
  await eventually(async () => expect(await votesAt(witness, key)).toEqual(NONE), { timeoutMs: 10_000 });
}

describe('a minority of nodes that fails', () => {
  it('two of five down: locks are taken, extended, busy for others and released', async () => {
    await kill(2);
    const held = await hold(opened);
    expect(await opened.store.extend([held])).toMatchObject([{ status: 'extended' }]);
    expect(await opened.store.acquire(wish({ key: held.key }))).toMatchObject({ status: 'busy' });
    expect(await opened.store.inspect(held.key)).toMatchObject({ holders: [{ token: held.token }] });
    expect(await opened.store.release([held])).toEqual([{ status: 'released' }]);
    await hold(opened, { key: held.key });
  });

  it('two of five silent: a grant does not wait for them', async () => {
    pause(2);
    const startedAt = monotonicMs();
    await hold(opened);
    expect(monotonicMs() - startedAt).toBeLessThan(TIMEOUT_MS);
  });

  it('that hangs through grant and release has no ghost lock when it goes on', async () => {
    pause(1);
    const held = await hold(opened);
    expect(await opened.store.release([held])).toEqual([{ status: 'released' }]);
    await pass(TIMEOUT_MS * 1.5);
    resume();
    await forgets(held.key);
  });

  it('that did not hear the release hears it again', async () => {
    const proxy = await startFaultProxy({ target: servers[0]?.url ?? '' });
    const nodes = servers.map(({ url }, index) => ({ url: index === 0 ? proxy.urlFor(url) : url }));
    const cut = await openRedlock(redlockStore({ nodes, namespace, commandTimeout: TIMEOUT_MS }));
    const held = await hold(cut);
    await eventually(async () => expect(await votersOf(witness, held.key, held.token)).toHaveLength(5));
    proxy.refuse();
    proxy.cut();
    expect(await cut.store.release([held])).toEqual([{ status: 'released' }]);
    await pass(TIMEOUT_MS * 1.5);
    expect(await votersOf(witness, held.key, held.token)).toEqual([0]);
    await proxy.heal();
    await forgets(held.key);
    await cut.close();
    await proxy.stop();
  });

  it('restarted empty in mid-hold: the lock stays held, and the node votes for its holder again', async () => {
    const held = await hold(opened);
    await servers[0]?.restart({ empty: true });
    await recovered(servers, opened);
    expect(await witness.store.acquire(wish({ key: held.key }))).toMatchObject({ status: 'busy' });
    await eventually(async () => {
      expect(await opened.store.extend([held])).toMatchObject([{ status: 'extended' }]);
      expect(await votersOf(witness, held.key, held.token)).toEqual([0, 1, 2, 3, 4]);
    });
  });

  it('restarted empty one after another: a lock that is extended in between outlives all five', async () => {
    const held = await hold(opened);
    for (const [index, server] of servers.entries()) {
      await server.restart({ empty: true });
      await recovered(servers, opened);
      await eventually(async () => {
        expect(await opened.store.extend([held])).toMatchObject([{ status: 'extended' }]);
        expect(await votersOf(opened, held.key, held.token)).toContain(index);
      });
    }
    await recovered(servers, witness);
    expect(await witness.store.acquire(wish({ key: held.key }))).toMatchObject({ status: 'busy' });
  });
});

describe('a node that has forgotten its vote', () => {
  async function forgetAt(index: number, key: string): Promise<void> {
    await opened.store.nodes[index]?.connection.command('test', 'del', `${namespace}:redlock:{${key}}`);
  }

  it('and says so after the release is not asked to vote for a lock that is over', async () => {
    const held = await hold(witness);
    await eventually(async () => expect(await votersOf(witness, held.key, held.token)).toHaveLength(5));
    await forgetAt(0, held.key);
    pause(1);
    expect(await witness.store.extend([held])).toMatchObject([{ status: 'extended' }]);
    const released = witness.store.release([held]);
    await pass(TIMEOUT_MS / 2);
    resume();
    expect(await released).toEqual([{ status: 'released' }]);
    await recovered(servers, witness);
    await pass(TIMEOUT_MS);
    expect(await votesAt(witness, held.key)).toEqual(NONE);
  });

  it('is kept in mind no longer than until every node has answered', async () => {
    const held = await hold(opened);
    await forgetAt(0, held.key);
    await opened.store.extend([held]);
    await opened.store.release([held]);
    const repairs = Reflect.get(opened.store, 'repairs') as object;
    await eventually(() => expect(Reflect.get(repairs, 'leases')).toHaveProperty('size', 0));
  });
});

describe('a majority of nodes that fails', () => {
  it('all quorum nodes stalled past the lease: the acquisition is refused (D1)', async () => {
    const ttlMs = 800;
    pause(3);
    const request = wish({ ttlMs });
    const refused = expect(witness.store.acquire(request)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await pass(ttlMs + 100);
    resume();
    await refused;
    await forgets(request.key);
  });

  it('whose answers wait in a process that stood still past the lease: the acquisition is refused', async () => {
    const ttlMs = 300;
    const refused = expect(opened.store.acquire(wish({ ttlMs }))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await Promise.resolve(); // lets it be sent
    const until = monotonicMs() + ttlMs + 50;
    while (monotonicMs() < until);
    await refused;
  });

  it('stalled past the lease of one who waits: what is granted then has its whole lease before it (D1)', async () => {
    const ttlMs = 2_000;
    pause(3);
    const waiting = witness.store.acquire(wish({ ttlMs, waitMs: 20_000 }));
    await pass(ttlMs + 100);
    resume();
    const grant = await waiting;
    if (grant.status === 'busy') throw new Error('nobody else wants it');
    expect(grant.deadline - monotonicMs()).toBeGreaterThan(ttlMs / 2);
  });

  it('hung while asked: what arrives late is refused, even if no clean-up comes (H3)', async () => {
    const { key, token } = wish();
    const stalled = opened.store.nodes.slice(0, 3);
    pause(3);
    const asked = stalled.map(({ connection, scripts }) => {
      const lock = connection.key('redlock', key);
      const terms = { ttlMs: 30_000, awaitsPush: false, withinMs: TIMEOUT_MS };
      return scripts.acquire.run({ keys: { lock: [lock], all: [lock] }, vote: `${token}|1||`, ...terms });
    });
    for (const { status } of await Promise.allSettled(asked)) expect(status).toBe('rejected');
    await pass(TIMEOUT_MS * 2);
    resume();
    await recovered(servers, witness);
    await recovered(servers, opened);
    expect(await votesAt(witness, key)).toEqual(NONE);
  });

  it('hung while asked: nothing is left of the votes, on no node', async () => {
    const request = wish();
    pause(3);
    await expect(opened.store.acquire(request)).rejects.toMatchObject({ outcome: 'unknown' });
    resume();
    await forgets(request.key);
    await hold(witness, { key: request.key });
  });

  it('three of five down: unavailable, with the cause of each node under its name', async () => {
    await kill(3);
    const error = await opened.store.acquire(wish({ waitMs: 30_000 })).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      outcome: 'not-applied',
      fields: { nodes: 5, reached: 2 },
    });
    const { errors } = (error as Error).cause as AggregateError;
    expect(errors.map(String)).toEqual(
      first(3).map(({ port }, index) => expect.stringContaining(`node ${index + 1} (127.0.0.1:${port}): `)),
    );
  });

  it('three of five down: extension and release say that they failed, not that the lock is lost', async () => {
    const held = await hold(opened);
    await kill(3);
    expect(await opened.store.extend([held])).toMatchObject([{ status: 'failed', error: { kind: 'unavailable' } }]);
    expect(await opened.store.release([held])).toMatchObject([{ status: 'failed' }]);
    await expect(opened.store.inspect(held.key)).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('emptied: the holder learns at its next extension that the lock is lost', async () => {
    const held = await hold(opened);
    for (const server of first(3)) await server.restart({ empty: true });
    await recovered(servers, opened);
    expect(await opened.store.extend([held])).toEqual([{ status: 'lost', cause: 'stolen' }]);
  });

  it('back again: usable without a restart of ours', async () => {
    await kill(3);
    await expect(opened.store.acquire(wish())).rejects.toMatchObject({ kind: 'unavailable' });
    await Promise.all(first(3).map((server) => server.restart()));
    await eventually(() => hold(opened));
  });
});

describe('votes that are split', () => {
  it('are given back, and are busy for one who does not wait, never unavailable', async () => {
    const request = wish();
    for (const [index, token] of ['a', 'a', 'b', 'b'].entries()) await plantVote(opened, index, request.key, token);
    expect(await opened.store.acquire(request)).toMatchObject({ status: 'busy' });
    await eventually(async () => expect(await votersOf(opened, request.key, request.token)).toEqual([]));
  });

  it('of a minority are no obstacle, and hold nothing', async () => {
    const key = randomUUID();
    await plantVote(opened, 0, key, 'ghost');
    await plantVote(opened, 1, key, 'ghost');
    expect(await opened.store.inspect(key)).toMatchObject({ holders: [] });
    const held = await hold(opened, { key });
    expect(await opened.store.inspect(key)).toMatchObject({ holders: [{ token: held.token }] });
  });

  it('of one round survive the late clean-up of the round before', async () => {
    const key = randomUUID();
    const held = await hold(opened, { key });
    await Promise.all(
      opened.store.nodes.map(({ connection, scripts }) => {
        const lock = connection.key('redlock', key);
        return scripts.release.run({ keys: { lock: [lock], all: [lock] }, vote: `${held.token}|0|` });
      }),
    );
    expect(await opened.store.extend([held])).toMatchObject([{ status: 'extended' }]);
  });
});

describe('waiting for a lock of many nodes', () => {
  it('is woken by the release although two nodes are down', async () => {
    await kill(2);
    const held = await hold(opened);
    const waiting = witness.store.acquire(wish({ key: held.key, waitMs: 30_000 }));
    await opened.store.release([held]);
    expect(await waiting).toMatchObject({ status: 'granted' });
  });
});
