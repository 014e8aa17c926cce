import 'reflect-metadata';
import { describeIdempotencyStoreContract } from '@lockstep/idempotency/contract';
import { SQL_SERVERS } from './support/sql-servers.js';
import { openSqlStore } from './support/sql-store.js';

for (const server of SQL_SERVERS) {
  const database = server.use();
  describeIdempotencyStoreContract({ name: server.name, open: () => openSqlStore(database.url) });
}
