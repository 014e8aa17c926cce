import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { openServiceApp } from './support/service-app.js';

const server = useRedis();
/** 100 000 are as good: `LOCKSTEP_GROWTH_KEYS`. */
const KEYS = Number(process.env.LOCKSTEP_GROWTH_KEYS ?? 5_000);
const AT_ONCE = 100;

/** What the service keeps of operations, by the names of its own fields: none of it may outlive them. */
interface Kept {
  readonly heartbeat: { readonly size: number };
  readonly settler: { readonly pending: ReadonlySet<unknown> };
}

async function keysUnder(prefix: string): Promise<number> {
  const redis = new Redis(server.url);
  try {
    let found = 0;
    let cursor = '0';
    do {
      const [next, keys] = await redis.scan(cursor, 'MATCH', `${prefix}:*`, 'COUNT', 5_000);
      cursor = next;
      found += keys.length;
    } while (cursor !== '0');
    return found;
  } finally {
    redis.disconnect();
  }
}

describe(`${KEYS} keys, each used twice`, () => {
  it('leave nothing in the process when they are over, and nothing in Redis when retention is', {
    timeout: 300_000,
  }, async () => {
    const prefix = `${server.prefix}growth`;
    const app = await openServiceApp({ url: server.url, prefix }, { lease: '5s', retention: '5s' });
    const kept = app.service as unknown as Kept;
    let next = 0;
    let runs = 0;
    const lane = async (): Promise<void> => {
      while (next < KEYS) {
        next += 1;
        const operation = { scope: 'test', operation: 'grow', key: randomUUID(), payload: next };
        const run = () =>
          app.service.run(
            operation,
            async () => {
              runs += 1;
            },
            { waitMs: 5_000 },
          );
        await Promise.all([run(), run()]);
      }
    };
    // The connection for pushes is made by the first who waits.
    const waits = { scope: 'test', operation: 'grow', key: randomUUID(), payload: 0 };
    const first = () => app.service.run(waits, async () => undefined, { waitMs: 5_000 });
    await eventually(() => Promise.all([first(), first()]));
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    expect(runs).toBe(KEYS);
    expect(kept.heartbeat.size).toBe(0);
    expect(kept.settler.pending.size).toBe(0);
    const channels = new Redis(server.url);
    await eventually(async () => expect(await channels.pubsub('CHANNELS', `${prefix}:*`)).toEqual([]));
    channels.disconnect();
    expect(app.incidents).toEqual([]);
    await eventually(async () => expect(await keysUnder(prefix)).toBe(0), { timeoutMs: 30_000, intervalMs: 500 });
    await app.close();
  });
});
