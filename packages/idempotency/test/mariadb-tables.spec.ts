import 'reflect-metadata';
import { readFile } from 'node:fs/promises';
import { eventually } from '@lockstep/testing';
import { useMariaDb } from '@lockstep/testing/vitest';
import { createConnection, createPool } from 'mysql2/promise';
import { afterEach, describe, expect, it } from 'vitest';
import { request } from './support/begin-request.js';
import { serverOf } from './support/sql-servers.js';
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

  describe('at a server that cuts long lists short', () => {
    const database = useMariaDb();

    it('are swept and purged all the same', async () => {
      const pool = createPool({ uri: database.url, connectionLimit: 4 });
      pool.on('connection', (connection) => connection.query('SET SESSION group_concat_max_len = 1024'));
      opened = await openSqlStore(database.url, { pool, store: { purgeEvery: '1s' } });
      const { store, sql, incidents } = opened;
      const past = serverOf(database.url).inMinutes(-1);
      const grow = (state: string, end: string): Promise<number> =>
        sql.execute(`INSERT INTO lockstep_idempotency (id, state, policy, fence, owner, operation, ${end})
          WITH RECURSIVE counted AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM counted WHERE n < 200)
          SELECT CONCAT('as long as a hash in base64url: ${state}', n), '${state}', 'U', 1, 'o', 'op', ${past} FROM counted`);
      await grow('P', 'lease_until');
      expect(await store.sweep(1_000)).toBe(200);
      await grow('C', 'expires_at');
      await eventually(async () =>
        expect(await sql.query(`SELECT id FROM lockstep_idempotency WHERE state = 'C'`)).toEqual([]),
      );
      expect(incidents).toEqual([]);
    });
  });
});
