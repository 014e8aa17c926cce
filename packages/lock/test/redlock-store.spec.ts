import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Incidents } from '@lockstep/core';
import { redlockStore } from '@lockstep/lock/redlock';
import { eventually, type RedisCommandCounter, type RedisServer, redisCommandCounter } from '@lockstep/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hold, pass, plantVote, recovered, votesAt, wish } from './support/redlock-nodes.js';
import { nodesOf, type OpenedRedlock, openRedlock, startNodes } from './support/redlock-servers.js';

const namespace = `t${randomUUID()}`;
const fencing = 'durable-nodes' as const;
let servers: RedisServer[];
let opened: OpenedRedlock;

/** What each node gets meanwhile. Scripts are known to the nodes beforehand. */
async function commandsOf(nodes: readonly RedisServer[], work: () => Promise<void>): Promise<string[][]> {
  const counters: RedisCommandCounter[] = await Promise.all(nodes.map(({ url }) => redisCommandCounter(url)));
  await Promise.all(counters.map((counter) => counter.reset()));
  await work();
  await pass(50); // the last nodes answer after the majority
  const commands = await Promise.all(counters.map((counter) => counter.commands()));
  for (const counter of counters) counter.stop();
  return commands;
}

async function cycle(store: OpenedRedlock): Promise<void> {
  const held = await hold(store);
  await store.store.release([held]);
}

describe('locks on five nodes', () => {
  beforeAll(async () => {
    servers = await startNodes(5);
    opened = await openRedlock(redlockStore({ nodes: nodesOf(servers), namespace }));
    await cycle(opened);
  });
  afterAll(async () => {
    await opened.close();
    await Promise.all(servers.map((server) => server.stop()));
  });

  it('cost each node one command to acquire and one to release', async () => {
    expect(await commandsOf(servers, () => cycle(opened))).toEqual(servers.map(() => ['EVALSHA', 'EVALSHA']));
  });

  it('of 64 concurrent acquisitions travel to each node as one command', async () => {
    const commands = await commandsOf(servers, async () => {
      await Promise.all(Array.from({ length: 64 }, () => hold(opened)));
    });
    expect(commands).toEqual(servers.map(() => ['EVALSHA']));
  });

  it('of a hundred holders are extended by one command a node', async () => {
    const held = await Promise.all(Array.from({ length: 100 }, () => hold(opened)));
    await opened.store.extend(held);
    const commands = await commandsOf(servers, async () => {
      const outcomes = await opened.store.extend(held);
      expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['extended']));
    });
    expect(commands).toEqual(servers.map(() => ['EVALSHA']));
  });

  it('are waited for without a command to any node', async () => {
    const held = await hold(opened);
    const controller = new AbortController();
    const waiting = opened.store.acquire(wish({ key: held.key, waitMs: 30_000, signal: controller.signal }));
    await eventually(async () =>
      expect((await votesAt(opened, held.key)).filter((vote) => vote?.endsWith('|w'))).toHaveLength(5),
    );
    await pass(50);
    expect(await commandsOf(servers, () => pass(300))).toEqual(servers.map(() => []));
    controller.abort(new Error('left'));
    await expect(waiting).rejects.toThrow('left');
  });

  it('leave nothing behind: neither keys, nor entries for what is released', async () => {
    const held = await Promise.all(Array.from({ length: 500 }, () => hold(opened)));
    await opened.store.release(held);
    for (const { key } of held.slice(0, 20)) {
      await eventually(async () => expect(await votesAt(opened, key)).toEqual(servers.map(() => undefined)));
    }
    expect(Reflect.get(Reflect.get(opened.store, 'lateCopies') as object, 'tokens')).toHaveProperty('size', 0);
    expect(Reflect.get(Reflect.get(opened.store, 'host') as object, 'running')).toHaveProperty('size', 0);
  });

  it('are not left behind by requests that were cancelled while they asked', async () => {
    const key = randomUUID();
    for (let round = 0; round < 20; round += 1) {
      const controller = new AbortController();
      const asked = opened.store.acquire(wish({ key, waitMs: 1_000, signal: controller.signal }));
      controller.abort(new Error('left'));
      await expect(asked).rejects.toThrow('left');
    }
    await eventually(async () => expect(await votesAt(opened, key)).toEqual(servers.map(() => undefined)));
  });

  it('have leases without a fence in the service', async () => {
    const lease = await opened.locks.acquire(randomUUID());
    expect(lease.fence).toBeUndefined();
    await lease.release();
  });

  it('with fences are refused on nodes that may forget, naming the node', async () => {
    const fenced = await openRedlock(redlockStore({ nodes: nodesOf(servers), namespace, fencing }));
    await expect(fenced.store.acquire(wish())).rejects.toThrow(
      /appendfsync always; node \d \(127.0.0.1:\d+\) has appendonly no/,
    );
    await fenced.close();
  });
});

describe('locks with fences on three durable nodes', () => {
  beforeAll(async () => {
    servers = await startNodes(3, { appendonly: 'always' });
    opened = await openRedlock(redlockStore({ nodes: nodesOf(servers), namespace, fencing }));
    await cycle(opened);
  });
  afterAll(async () => {
    await opened.close();
    await Promise.all(servers.map((server) => server.stop()));
  });

  afterEach(() => recovered(servers, opened));

  function counterKey(key: string): string {
    return `${namespace}:redlock-fence:{${key}}`;
  }

  async function counters(key: string): Promise<(string | undefined)[]> {
    return Promise.all(
      opened.store.nodes.map(async ({ connection }) =>
        String(await connection.command('test', 'get', counterKey(key))),
      ),
    );
  }

  it('cost each node one command more', async () => {
    expect(await commandsOf(servers, () => cycle(opened))).toEqual(
      servers.map(() => ['EVALSHA', 'EVALSHA', 'EVALSHA']),
    );
  });

  it('leave the fence at every node, exact to 16 digits (C5a)', async () => {
    const { key, fence } = await hold(opened);
    expect(String(fence)).toMatch(/^\d{16}$/);
    await eventually(async () => {
      for (const counter of await counters(key)) expect(Number(counter)).toBeGreaterThanOrEqual(Number(fence));
    });
    await eventually(async () =>
      expect((await votesAt(opened, key)).every((vote) => vote?.endsWith(`|1|${fence}|`))).toBe(true),
    );
  });

  it('rise although one node is far ahead of the others and is missing the next time (C4)', async () => {
    const key = randomUUID();
    const ahead = BigInt(Date.now() + 3_600_000) * 1_000n;
    await opened.store.nodes[0]?.connection.command('test', 'set', counterKey(key), `${ahead}`);
    await servers[2]?.kill();
    const held = await hold(opened, { key });
    expect(held.fence).toBe(ahead + 1n);
    await opened.store.release([held]);
    await servers[2]?.restart();
    await servers[0]?.kill();
    await eventually(() => opened.store.nodes[2]?.connection.command('test', 'ping'));
    expect((await hold(opened, { key })).fence).toBeGreaterThan(ahead + 1n);
    await servers[0]?.restart();
  });

  it('are not raised at a node that votes for another by now (C4)', async () => {
    const { key, token } = await hold(opened);
    const [node] = opened.store.nodes;
    if (!node) throw new Error('there are three');
    const lock = node.connection.key('redlock', key);
    const keys = { lock: [lock], all: [lock, node.connection.key('redlock-fence', key)] } as const;
    const before = await counters(key);
    const ahead = BigInt(Date.now() + 3_600_000) * 1_000n;
    expect(await node.scripts.raise.run({ keys, vote: `${token}|2|`, fence: ahead })).toBe(false);
    await plantVote(opened, 0, key, 'another');
    expect(await node.scripts.raise.run({ keys, vote: `${token}|1|`, fence: ahead })).toBe(false);
    expect(await counters(key)).toEqual(before);
  });

  it('keep votes and counters over the crash of all nodes', async () => {
    const held = await hold(opened);
    await Promise.all(servers.map((server) => server.kill()));
    await Promise.all(servers.map((server) => server.restart()));
    await eventually(async () => expect(await opened.store.extend([held])).toMatchObject([{ status: 'extended' }]));
    await opened.store.release([held]);
    expect((await hold(opened, { key: held.key })).fence).toBeGreaterThan(held.fence ?? 0n);
  });

  it('are remembered by every node for fenceRetention after the lease, and no longer', async () => {
    const held = await hold(opened);
    const ttlAt = (index: number): Promise<number> =>
      Promise.resolve(opened.store.nodes[index]?.connection.command('test', 'pttl', counterKey(held.key))).then(Number);
    await eventually(async () => {
      for (const index of servers.keys()) {
        const ttl = await ttlAt(index);
        expect(ttl).toBeGreaterThan(86_400_000 + 20_000);
        expect(ttl).toBeLessThanOrEqual(86_400_000 + 30_000);
      }
    });
  });

  it('tell the fence of the holder to whoever inspects', async () => {
    const held = await hold(opened);
    expect(await opened.store.inspect(held.key)).toMatchObject({ fence: held.fence, holders: [{ token: held.token }] });
  });
});

describe('fences where CONFIG is forbidden', () => {
  it('are given, and an incident says that durability could not be checked', async () => {
    const hidden = await startNodes(3, { appendonly: 'always', args: ['--rename-command', 'CONFIG', ''] });
    const fenced = await openRedlock(redlockStore({ nodes: nodesOf(hidden), namespace, fencing }));
    expect((await hold(fenced)).fence).toBeGreaterThan(0n);
    await eventually(() =>
      expect(fenced.incidents.filter(({ code }) => code === 'REDLOCK_NODE_NOT_CHECKED')).toHaveLength(3),
    );
    await fenced.close();
    await Promise.all(hidden.map((server) => server.stop()));
  });
});

describe('redlockStore()', () => {
  const [a, b, c] = ['redis://a', 'redis://b', 'redis://c'].map((url) => ({ url }));
  if (!a || !b || !c) throw new Error('there are three');

  it.each([
    ['an even number of nodes', { nodes: [a, b, c, { url: 'redis://d' }], namespace }, /'nodes'.*odd number/],
    ['fewer than three', { nodes: [a], namespace }, /'nodes'.*at least 3/],
    [
      'a server twice',
      { nodes: [a, b, { url: 'redis://user:secret@a/1' }], namespace },
      /'nodes\[2\]' is 'a'; .*twice/,
    ],
    ['a node that is none', { nodes: [a, b, {}], namespace }, /'nodes\[2\]'.*either `url` or `client`/],
    ['a retention below a minute', { nodes: [a, b, c], namespace, fenceRetention: '1s' }, /'fenceRetention'/],
  ] as const)('refuses %s, naming option and value', (_what, options, message) => {
    expect(() => redlockStore(options)).toThrow(message);
  });

  it('refuses a namespace that is none at boot', async () => {
    const provider = redlockStore({ nodes: [a, b, c], namespace: 'a b' });
    await expect(provider.useFactory(new Incidents(), { register: () => undefined })).rejects.toThrow(/'namespace'/);
  });
});
