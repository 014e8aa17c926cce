import 'reflect-metadata';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { startFaultProxy } from '@lockstep/testing';
import { useZooKeeper } from '@lockstep/testing/vitest';
import { openRivals } from './support/zookeeper-store.js';

const zookeeper = useZooKeeper();
/** The suite sends dozens of requests at once to a server that has just started. */
const commandTimeout = '5s';
const queue = { expires: false, shares: 'any', queues: true } as const;

describeLockStoreContract({
  name: 'zookeeper',
  abilities: queue,
  open: () => openRivals({ connect: zookeeper.connectString, root: `${zookeeper.root}/sequential`, commandTimeout }),
});

describeLockStoreContract({
  name: 'zookeeper, one node for all',
  abilities: { expires: false, shares: 'none', queues: false },
  open: () =>
    openRivals({
      connect: zookeeper.connectString,
      root: `${zookeeper.root}/ephemeral`,
      recipe: 'ephemeral',
      commandTimeout,
    }),
});

describeLockStoreContract({
  name: 'zookeeper behind a slow network',
  abilities: queue,
  async open() {
    const proxy = await startFaultProxy({ target: zookeeper.server.url });
    proxy.delay(5);
    const rivals = await openRivals({
      connect: `${proxy.host}:${proxy.port}`,
      root: `${zookeeper.root}/slow`,
      commandTimeout,
    });
    return { ...rivals, close: () => proxy.stop() };
  },
});
