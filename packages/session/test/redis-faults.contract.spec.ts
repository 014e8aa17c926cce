import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { describeSessionStoreContract } from '@lockstep/session/contract';
import { eventually, type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { type OpenRedisStores, openRedisStores } from './support/redis-store.js';
import { newGroup, newKey } from './support/session-drafts.js';

const redis = useRedis();

/** The store behind a network, after `trouble` has befallen its connections. */
function behindProxy(
  name: string,
  trouble: (proxy: FaultProxy, opened: OpenRedisStores) => Promise<void> | void,
): void {
  describeSessionStoreContract({
    name: `redis behind ${name}`,
    async open() {
      const proxy = await startFaultProxy({ target: redis.url });
      const opened = await openRedisStores(proxy.urlFor(redis.url), `${redis.prefix}${randomUUID().slice(0, 8)}`);
      await trouble(proxy, opened);
      const close = async (): Promise<void> => {
        await opened.close();
        await proxy.stop();
      };
      return { ...opened, close };
    },
  });
}

/** It has its connection for pushes, too. */
async function openChannels({ store }: OpenRedisStores): Promise<void> {
  const leave = await store.watch(newKey(), () => undefined);
  await leave();
  await store.list(newGroup());
}

async function answering({ store, another }: OpenRedisStores): Promise<void> {
  for (const one of [store, another]) await eventually(() => one.list(newGroup()), { timeoutMs: 15_000 });
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
