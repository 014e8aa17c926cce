import { createHash, randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { type Contestant, closedLoop } from '../harness/contestant.js';
import { keyOf, TTL_MS } from './lock-keys.js';

const COMPARE_AND_DELETE =
  "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
const SHA = createHash('sha1').update(COMPARE_AND_DELETE).digest('hex');

/** The fewest bare commands that lock and unlock safely; no fence, no deadline, no waiting. */
export function rawLock(url: string, concurrency: number): Contestant {
  return {
    name: 'raw',
    open: async () => {
      const client = new Redis(url);
      await client.script('LOAD', COMPARE_AND_DELETE);
      const operation = async (worker: number): Promise<void> => {
        const key = keyOf('raw', worker);
        const token = randomUUID();
        if ((await client.set(key, token, 'PX', TTL_MS, 'NX')) !== 'OK') throw new Error(`${key} is taken`);
        if ((await client.evalsha(SHA, 1, key, token)) !== 1) throw new Error(`${key} was lost`);
      };
      return {
        run: (sliceMs) => closedLoop(concurrency, sliceMs, operation),
        close: async () => {
          await client.quit();
        },
      };
    },
  };
}
