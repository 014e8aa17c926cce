import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import type { RedisClient } from '@lockstep/redis';
import {
  eventually,
  type RedisServer,
  redisCommandCounter,
  startFaultProxy,
  startRedis,
  startRedisCluster,
} from '@lockstep/testing';
import { Cluster, type NatMap, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appendScript } from './support/append.script.js';
import { type Opened, openConnection } from './support/open-connection.js';

// One node that owns every slot: the client and the server speak as in any Cluster, down to CROSSSLOT and MOVED.
let server: RedisServer;
let cluster: Cluster;
let opened: Opened;

beforeAll(async () => {
  server = await startRedis({ args: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] });
  const admin = new Redis(server.url);
  await admin.call('cluster', 'addslots', ...Array.from({ length: 16_384 }, (_, slot) => String(slot)));
  await eventually(async () => expect(String(await admin.call('cluster', 'info'))).toContain('cluster_state:ok'));
  admin.disconnect();
  cluster = new Cluster([server.url]);
  const client: RedisClient = cluster;
  opened = await openConnection({ client }, 'cluster', 500);
});
afterAll(async () => {
  await opened?.app.close();
  cluster?.disconnect();
  await server?.stop();
});

describe('on a Cluster', () => {
  it('the calls of a tick travel as one command for each slot', async () => {
    const { connection } = opened;
    expect(connection.isCluster).toBe(true);
    const script = appendScript(connection);
    const [one, two] = [randomUUID(), randomUUID()];
    await script.run({ entity: one, text: 'a' });
    const counter = await redisCommandCounter(server.url);
    const calls = [one, two, one, two].map((entity) => script.run({ entity, text: 'b' }));
    expect(await Promise.all(calls)).toEqual(['ab', 'b', 'abb', 'bb']);
    const { EVALSHA } = await counter.counts();
    counter.stop();
    expect(EVALSHA).toBe(2);
  });

  it('scripts and pushes come back after a restart', async () => {
    const { connection } = opened;
    const script = appendScript(connection);
    const [channel, entity] = [randomUUID(), randomUUID()];
    const heard: string[] = [];
    await connection.subscribe(
      channel,
      (message) => heard.push(message),
      () => heard.push('again'),
    );
    await connection.command('test', 'publish', channel, 'before');
    await eventually(() => expect(heard).toContain('before'));

    await server.restart();
    await eventually(() => script.run({ entity, text: 'a' }), { timeoutMs: 15_000 });
    await eventually(
      async () => {
        await connection.command('test', 'publish', channel, 'after');
        expect(heard).toContain('after');
      },
      { timeoutMs: 15_000 },
    );
  });
});

it('on a Cluster of three, no call is refused because a master is still being connected', async () => {
  await using masters = await startRedisCluster();
  const proxies = await Promise.all(masters.urls.map((target) => startFaultProxy({ target })));
  // Each farther away than the one before: one is reached first and calls the Cluster ready.
  for (const [index, proxy] of proxies.entries()) proxy.delay(index * 60);
  const natMap = Object.fromEntries(masters.nodes.map(({ host, port }, index) => [`${host}:${port}`, proxies[index]]));
  const client = new Cluster([...masters.urls], { natMap: natMap as NatMap });
  const { app, connection, incidents } = await openConnection({ client: client as RedisClient }, 'first', 2_000);
  try {
    const script = appendScript(connection);
    const calls = Array.from({ length: 300 }, (_, index) => script.run({ entity: randomUUID(), text: String(index) }));
    expect(await Promise.all(calls)).toEqual(calls.map((_, index) => String(index)));
    expect(incidents).toEqual([]);
  } finally {
    await app.close();
    client.disconnect();
    await Promise.all(proxies.map((proxy) => proxy.stop()));
  }
}, 60_000);
