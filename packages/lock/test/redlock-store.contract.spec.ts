import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { redlockStore } from '@lockstep/lock/redlock';
import type { RedisServer } from '@lockstep/testing';
import { afterAll, beforeAll } from 'vitest';
import { nodesOf, openRedlockRivals, startNodes } from './support/redlock-servers.js';

const abilities = { expires: true, shares: 'none', queues: false } as const;
const namespace = `t${randomUUID()}`;
let five: RedisServer[];
let durable: RedisServer[];

beforeAll(async () => {
  five = await startNodes(5);
  durable = await startNodes(3, { appendonly: 'always' });
});
afterAll(async () => {
  await Promise.all([...five, ...durable].map((server) => server.stop()));
});

describeLockStoreContract({
  name: 'redlock on five nodes',
  abilities,
  fences: false,
  leaseMs: 600,
  open: () => openRedlockRivals(() => redlockStore({ nodes: nodesOf(five), namespace })),
});

describeLockStoreContract({
  name: 'redlock with fences on three durable nodes',
  abilities,
  leaseMs: 600,
  open: () => openRedlockRivals(() => redlockStore({ nodes: nodesOf(durable), namespace, fencing: 'durable-nodes' })),
});
