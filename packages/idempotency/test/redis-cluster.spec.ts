import 'reflect-metadata';
import { describeIdempotencyStoreContract } from '@lockstep/idempotency/contract';
import { eventually, type RedisCluster, startRedisCluster } from '@lockstep/testing';
import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { beginRequest } from './support/begin-requests.js';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';

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

describeIdempotencyStoreContract({ name: 'redis cluster', open: () => openRedisStore(client, 'contract') });

describe('operations on a Cluster', () => {
  const settlement = { to: 'completed', response: '"done"', retentionMs: 60_000 } as const;
  let one: OpenRedisStore;
  let other: OpenRedisStore;
  beforeAll(async () => {
    one = await openRedisStore(client, 'cluster');
    other = await openRedisStore(client, 'cluster');
  });
  afterAll(() => Promise.all([one.close(), other.close()]));

  it('of one tick are claimed once each, whichever master has them', async () => {
    const requests = Array.from({ length: 60 }, () => beginRequest());
    const rivals = requests.map(({ id }) => beginRequest({ id }));
    const [firsts, seconds] = await Promise.all([
      Promise.all(requests.map((request) => one.store.begin(request))),
      Promise.all(rivals.map((request) => other.store.begin(request))),
    ]);
    const winners = firsts.map(({ outcome }, index) => [outcome, seconds[index]?.outcome].sort());
    expect(winners).toEqual(requests.map(() => ['acquired', 'busy']));
  });

  it('reach a waiter whose pushes come by another master', async () => {
    for (let round = 0; round < 12; round += 1) {
      const request = beginRequest();
      await one.store.begin(request);
      let heard = 0;
      const leave = await other.store.watch(request.id, () => {
        heard += 1;
      });
      expect(await other.store.begin(beginRequest({ id: request.id, isWaiting: true }))).toMatchObject({
        outcome: 'busy',
      });
      await one.store.settle(request, settlement);
      await eventually(() => expect(heard).toBeGreaterThan(0));
      await leave();
    }
  });

  it('are swept and listed from all masters', async () => {
    const requests = Array.from({ length: 40 }, () => beginRequest({ leaseMs: 100 }));
    await Promise.all(requests.map((request) => one.store.begin(request)));
    await eventually(async () => {
      await other.store.sweep(1_000);
      const listed = new Set((await other.store.listUncertain(1_000)).map(({ id }) => id));
      expect(requests.filter(({ id }) => !listed.has(id))).toEqual([]);
    });
  });
});
