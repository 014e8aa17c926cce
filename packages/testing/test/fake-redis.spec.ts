import { startFakeRedis } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';

describe('startFakeRedis()', () => {
  it.each(['5.0.14', '6.0.16'])('claims version %s to a real client', async (version) => {
    const fake = await startFakeRedis({ version, replies: { TIME: '*2\r\n$1\r\n7\r\n$1\r\n0\r\n' } });
    const client = new Redis(fake.url, { retryStrategy: () => null });
    client.on('error', () => undefined);
    expect(await client.info()).toContain(`redis_version:${version}`);
    expect(await client.time()).toSatisfy((time: unknown[]) => Number(time[0]) === 7);
    await expect(client.set('a', '1')).rejects.toThrow("unknown command 'SET'");
    expect(fake.received).toContainEqual(['set', 'a', '1']);
    client.disconnect();
    await fake.stop();
  });
});
