import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { openRivals, type Rivals } from './support/redis-store.js';
import { hold, wish } from './support/redis-wishes.js';
import { slowed } from './support/slowed.js';

const redis = useRedis();
const abilities = { expires: true, shares: 'any', queues: true } as const;

describeLockStoreContract({ name: 'redis', abilities, open: () => openRivals(redis.url, redis.prefix) });

/** Both stores behind one network, after `trouble` has befallen their connections. */
function behindProxy(
  name: string,
  trouble: (proxy: FaultProxy, rivals: Rivals) => Promise<void> | void,
  usualMs = 0,
): void {
  let proxy: FaultProxy;
  describeLockStoreContract({
    name: `redis behind ${name}`,
    abilities,
    delayWire: (ms) => slowed([proxy], ms, usualMs),
    async open() {
      proxy = await startFaultProxy({ target: redis.url });
      const rivals = await openRivals(proxy.urlFor(redis.url), redis.prefix);
      await trouble(proxy, rivals);
      const close = async (): Promise<void> => {
        await rivals.close();
        await proxy.stop();
      };
      return { ...rivals, close };
    },
  });
}

/** Each has its connection for pushes, too, and uses it. */
async function openChannels({ store, rival }: Rivals): Promise<void> {
  const key = randomUUID();
  const holder = await hold(store, key);
  await Promise.all([store, rival].map((each) => each.acquire(wish(key, { waitMs: 50 }))));
  await store.release([holder]);
}

async function answering({ store, rival }: Rivals): Promise<void> {
  for (const each of [store, rival]) await eventually(() => each.inspect('any'), { timeoutMs: 15_000 });
}

behindProxy('a slow network', (proxy) => proxy.delay(5), 5);

behindProxy('a network that cut every connection', async (proxy, rivals) => {
  await openChannels(rivals);
  proxy.cut();
  await answering(rivals);
});

behindProxy('a network that left every connection half open', async (proxy, rivals) => {
  await openChannels(rivals);
  proxy.halfOpen();
  await answering(rivals);
});
