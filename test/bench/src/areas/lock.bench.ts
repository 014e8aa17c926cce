import { LockService } from '@lockstep/lock';
import { redisCommandCounter, startRedis } from '@lockstep/testing';
import { type RowPlan, runBench } from '../harness/bench-run.js';
import { keyOf } from '../lock/lock-keys.js';
import { lockApplication, ourLock } from '../lock/ours.js';
import { lockPeers } from '../lock/peers.js';
import { rawLock } from '../lock/raw.js';

const OPERATIONS_COUNTED = 20;

await runBench({
  name: 'lock',
  open: async () => {
    const redis = await startRedis();
    const uncontended = (concurrency: number): RowPlan => ({
      name: `uncontended-${concurrency}`,
      unit: 'acquire+release/s',
      ours: ourLock(redis.url, concurrency),
      raw: rawLock(redis.url, concurrency),
      peers: lockPeers(redis.url, concurrency),
      commandsPerOp: () => commandsPerOperation(redis.url),
    });
    return { rows: [uncontended(1), uncontended(64)], close: () => redis.stop() };
  },
});

/** Top-level commands of one acquire and release, with one operation in flight. */
async function commandsPerOperation(url: string): Promise<number> {
  const app = await lockApplication(url);
  const counter = await redisCommandCounter(url);
  try {
    const locks = app.get(LockService);
    const operation = async () => (await locks.acquire(keyOf('counted', 0))).release();
    await operation(); // connects, loads the scripts
    await counter.reset();
    for (let i = 0; i < OPERATIONS_COUNTED; i += 1) await operation();
    return (await counter.commands()).length / OPERATIONS_COUNTED;
  } finally {
    counter.stop();
    await app.close();
  }
}
