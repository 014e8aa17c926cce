import 'reflect-metadata';
import { readFile } from 'node:fs/promises';
import { useMariaDb } from '@lockstep/testing/vitest';
import { createConnection } from 'mysql2/promise';
import { afterEach, describe, expect, it } from 'vitest';
import { request } from './support/begin-request.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-store.js';

const MIGRATION = new URL('../src/drivers/sql/migrations/mariadb/000001_idempotency.sql', import.meta.url);

describe('the tables in MariaDB', () => {
  let opened: OpenSqlStore | undefined;
  afterEach(async () => {
    await opened?.close();
    opened = undefined;
  });

  describe('of which a process that died has made the first one only', () => {
    const database = useMariaDb();

    it('are completed by the next process', async () => {
      const [first = ''] = (await readFile(MIGRATION, 'utf8')).replaceAll(/^--.*$/gm, '').split(';');
      const connection = await createConnection({ uri: database.url });
      await connection.query(first);
      await connection.end();
      opened = await openSqlStore(database.url);
      expect(await opened.store.begin(request())).toMatchObject({ outcome: 'acquired' });
      await opened.store.issueSingle('slot', 'token', 60_000);
      expect(await opened.store.takeSingle('slot', 'token')).toBe(true);
    });
  });
});
