import { eventually, type RedisSentinel, startRedisSentinel } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAlive } from './processes.js';

describe('startRedisSentinel()', () => {
  let group: RedisSentinel;
  let client: Redis;
  beforeAll(async () => {
    group = await startRedisSentinel({ replicas: 1, sentinels: 3, downAfterMs: 500 });
    client = new Redis({ sentinels: [...group.sentinels], name: group.name });
    client.on('error', () => undefined);
  }, 60_000);
  afterAll(async () => {
    client.disconnect();
    await group.stop();
  });

  it('a client that asks the sentinels writes to the master, and the replica has a copy', async () => {
    await client.set('a', '1');
    const replica = new Redis(group.replicas[0]?.url ?? '');
    await eventually(async () => expect(await replica.get('a')).toBe('1'));
    await expect(replica.set('a', '2')).rejects.toThrow(/READONLY/);
    replica.disconnect();
  });

  it('failover() resolves when a replica is the master, and clients follow', { timeout: 40_000 }, async () => {
    const before = group.master;
    const elected = await group.failover();
    expect(elected).not.toBe(before);
    expect(group.master).toBe(elected);
    expect(group.replicas).toEqual([before]);
    await client.set('b', '1');
    const direct = new Redis(elected.url);
    expect(await direct.get('b')).toBe('1');
    direct.disconnect();
  });

  it('the master that was killed comes back as a replica', { timeout: 80_000 }, async () => {
    const [killed] = group.replicas;
    await killed?.restart();
    const direct = new Redis(killed?.url ?? '');
    await eventually(async () => expect((await direct.role())[0]).toBe('slave'), { timeoutMs: 60_000 });
    direct.disconnect();
  });

  it('stop() leaves no process', { timeout: 40_000 }, async () => {
    const other = await startRedisSentinel();
    const pids = [other.master, ...other.replicas].map((server) => server.pid);
    await other.stop();
    expect(pids.map(isAlive)).toEqual([false, false]);
  });
});
