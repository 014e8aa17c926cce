import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { redlockStore } from '@lockstep/lock/redlock';
import { type FaultProxy, type RedisServer, startFaultProxy } from '@lockstep/testing';
import { afterAll, beforeAll } from 'vitest';
import { nodesOf, openRedlockRivals, startNodes } from './support/redlock-servers.js';
import { slowed } from './support/slowed.js';

const abilities = { expires: true, shares: 'none', queues: false } as const;
const namespace = `t${randomUUID()}`;
let five: RedisServer[];
/** One before each of the five. */
let proxies: FaultProxy[];
let durable: RedisServer[];

beforeAll(async () => {
  five = await startNodes(5);
  proxies = await Promise.all(five.map(({ url }) => startFaultProxy({ target: url })));
  durable = await startNodes(3, { appendonly: 'always' });
});
afterAll(async () => {
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  await Promise.all([...five, ...durable].map((server) => server.stop()));
});

describeLockStoreContract({
  name: 'redlock on five nodes',
  abilities,
  fences: false,
  leaseMs: 600,
  delayWire: (ms) => slowed(proxies, ms),
  open: () => {
    const nodes = proxies.map((proxy, index) => ({ url: proxy.urlFor(five[index]?.url ?? '') }));
    return openRedlockRivals(() => redlockStore({ nodes, namespace }));
  },
});

describeLockStoreContract({
  name: 'redlock with fences on three durable nodes',
  abilities,
  leaseMs: 600,
  open: () => openRedlockRivals(() => redlockStore({ nodes: nodesOf(durable), namespace, fencing: 'durable-nodes' })),
});
