import { eventually, type RedisCluster, startRedisCluster } from '@lockstep/testing';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAlive } from './processes.js';

describe('startRedisCluster()', () => {
  let cluster: RedisCluster;
  let client: Cluster;
  beforeAll(async () => {
    cluster = await startRedisCluster({ masters: 3, replicas: 1 });
    client = new Cluster([...cluster.urls]);
  }, 60_000);
  afterAll(async () => {
    client.disconnect();
    await cluster.stop();
  });

  it('a client reaches a key of every master', async () => {
    const keys = Array.from({ length: 60 }, (_, index) => `key:${index}`);
    await Promise.all(keys.map((key) => client.set(key, key)));
    expect(await Promise.all(keys.map((key) => client.get(key)))).toEqual(keys);
    const sizes = await Promise.all(cluster.masters.map((node) => dbsize(node.url)));
    expect(sizes.every((size) => size > 0)).toBe(true);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(keys.length);
  });

  it('keys of two slots do not go into one command', async () => {
    await expect(client.mset('{a}1', '1', '{b}1', '1')).rejects.toThrow(/CROSSSLOT|same slot/);
  });

  it('a replica takes over from a master that was killed', { timeout: 40_000 }, async () => {
    await client.set('{kept}', '1');
    await cluster.masters[0]?.kill();
    await eventually(async () => expect(await roles()).toEqual({ master: 3, slave: 2 }), { timeoutMs: 20_000 });
    await cluster.masters[0]?.restart();
    await eventually(async () => expect(await roles()).toEqual({ master: 3, slave: 3 }), { timeoutMs: 20_000 });
  });

  it('stop() leaves no process', { timeout: 40_000 }, async () => {
    const other = await startRedisCluster();
    expect(other.nodes).toHaveLength(3);
    const pids = other.nodes.map((node) => node.pid);
    await other.stop();
    expect(pids.map(isAlive)).toEqual([false, false, false]);
  });

  async function roles(): Promise<{ master: number; slave: number }> {
    const found = { master: 0, slave: 0 };
    for (const node of cluster.nodes.filter(({ isRunning }) => isRunning)) {
      const role = await once(node.url, (redis) => redis.role());
      found[role[0] as keyof typeof found] += 1;
    }
    return found;
  }
});

function dbsize(url: string): Promise<number> {
  return once(url, (redis) => redis.dbsize());
}

async function once<T>(url: string, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { retryStrategy: () => null });
  redis.on('error', () => undefined);
  try {
    return await work(redis);
  } finally {
    redis.disconnect();
  }
}
