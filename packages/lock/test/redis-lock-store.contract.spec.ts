import 'reflect-metadata';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { openRivals } from './support/redis-store.js';

const redis = useRedis();
const abilities = { expires: true, shares: 'any', queues: true } as const;

describeLockStoreContract({ name: 'redis', abilities, open: () => openRivals(redis.url, redis.prefix) });

describeLockStoreContract({
  name: 'redis behind a slow network',
  abilities,
  async open() {
    const proxy: FaultProxy = await startFaultProxy({ target: redis.url });
    proxy.delay(5);
    const rivals = await openRivals(proxy.urlFor(redis.url), redis.prefix);
    const close = async (): Promise<void> => {
      await rivals.close();
      await proxy.stop();
    };
    return { ...rivals, close };
  },
});
