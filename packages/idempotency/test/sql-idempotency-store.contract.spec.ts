import 'reflect-metadata';
import { describeIdempotencyStoreContract } from '@lockstep/idempotency/contract';
import { usePostgres } from '@lockstep/testing/vitest';
import { openSqlStore } from './support/sql-store.js';

const postgres = usePostgres();

describeIdempotencyStoreContract({ name: 'postgres', open: () => openSqlStore(postgres.url) });
