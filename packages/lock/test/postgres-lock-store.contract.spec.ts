import 'reflect-metadata';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { type FaultProxy, startFaultProxy } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { openPostgresRivals } from './support/postgres-store.js';
import { slowed } from './support/slowed.js';

const postgres = usePostgres();
let proxy: FaultProxy;

describeLockStoreContract({
  name: 'postgres',
  abilities: { expires: false, shares: 'readers', queues: true },
  holders: 'sessions',
  delayWire: (ms) => slowed([proxy], ms),
  async open() {
    proxy = await startFaultProxy({ target: postgres.url });
    const rivals = await openPostgresRivals(proxy.urlFor(postgres.url));
    const close = async (): Promise<void> => {
      await rivals.close();
      await proxy.stop();
    };
    return { ...rivals, close };
  },
});
