import 'reflect-metadata';
import { describeLockStoreContract } from '@lockstep/lock/contract';
import { usePostgres } from '@lockstep/testing/vitest';
import { openPostgresRivals } from './support/postgres-store.js';

const postgres = usePostgres();

describeLockStoreContract({
  name: 'postgres',
  abilities: { expires: false, shares: 'readers', queues: true },
  holders: 'sessions',
  open: () => openPostgresRivals(postgres.url),
});
