import 'reflect-metadata';
import { describeTransactionalStoreContract } from '@lockstep/idempotency/contract';
import { useMariaDb } from '@lockstep/testing/vitest';
import { openSqlStore } from './support/sql-stores.js';

const mariadb = useMariaDb();

describeTransactionalStoreContract({
  name: 'mariadb',
  open: async () => {
    const [mine, others] = [await openSqlStore(mariadb.url), await openSqlStore(mariadb.url)];
    await mine.sql.execute('CREATE TABLE effect (name varchar(100))');
    const current = () => mine.sql.current() ?? others.sql.requireCurrent('the test');
    return {
      store: mine.store,
      other: others.store,
      write: async (name) => void (await current().execute('INSERT INTO effect VALUES ($1)', [name])),
      isWritten: async (name) => (await mine.sql.query('SELECT name FROM effect WHERE name = $1', [name])).length === 1,
      inTransaction: (fn) => mine.sql.transaction(fn),
      close: async () => void (await Promise.all([mine.close(), others.close()])),
    };
  },
});
