import 'reflect-metadata';
import { describeSessionStoreContract } from '@lockstep/session/contract';
import { usePostgres } from '@lockstep/testing/vitest';
import { openPostgresStore } from './support/postgres-store.js';

const postgres = usePostgres();

describeSessionStoreContract({
  name: 'postgres',
  open: async () => {
    const [one, another] = [await openPostgresStore(postgres.url), await openPostgresStore(postgres.url)];
    const close = async (): Promise<void> => {
      await one.close();
      await another.close();
    };
    return { store: one.store, another: another.store, close };
  },
});
