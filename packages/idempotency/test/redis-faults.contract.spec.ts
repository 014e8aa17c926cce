import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { describeIdempotencyStoreContract } from '@lockstep/idempotency/contract';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { type OpenRedisStore, openRedisStore } from './support/redis-store.js';

const redis = useRedis();

/** The store behind a network, after `trouble` has befallen its connections. */
function behindProxy(name: string, trouble: (proxy: FaultProxy, opened: OpenRedisStore) => Promise<void> | void): void {
  describeIdempotencyStoreContract({
    name: `redis behind ${name}`,
    async open() {
      const proxy = await startFaultProxy({ target: redis.url });
      const opened = await openRedisStore(proxy.urlFor(redis.url), `${redis.prefix}${randomUUID().slice(0, 8)}`);
      await trouble(proxy, opened);
      const close = async (): Promise<void> => {
        await opened.close();
        await proxy.stop();
      };
      return { store: opened.store, close };
    },
  });
}

/** It has its connection for pushes, too. */
async function openChannels({ store }: OpenRedisStore): Promise<void> {
  const leave = await store.watch(randomUUID(), () => undefined);
  await leave();
  await store.listUncertain(1);
}

async function answering({ store }: OpenRedisStore): Promise<void> {
  await eventually(() => store.listUncertain(1), { timeoutMs: 15_000 });
}

behindProxy('a slow network', (proxy) => proxy.delay(5));

behindProxy('a network that cut every connection', async (proxy, opened) => {
  await openChannels(opened);
  proxy.cut();
  await answering(opened);
});

behindProxy('a network that left every connection half open', async (proxy, opened) => {
  await openChannels(opened);
  proxy.halfOpen();
  await answering(opened);
});
