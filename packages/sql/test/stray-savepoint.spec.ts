import 'reflect-metadata';
import { type Sql, type SqlTransaction, TransactionEndedError, TransactionMisuseError } from '@lockstep/sql';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';
import { TEST_SERVERS } from './support/test-servers.js';

const put = (tx: SqlTransaction, name: string) => tx.execute('INSERT INTO entry VALUES ($1)', [name]);
/** A savepoint that stays open until `end` is called; `outcome` is its rejection. */
function stray(tx: SqlTransaction, inside: () => Promise<void> = async () => undefined) {
  let end: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    end = resolve;
  });
  const step = tx.savepoint?.(async () => {
    await inside();
    await held;
    throw new Error('too late');
  });
  return { end, outcome: Promise.resolve(step).then(String, (error: unknown) => error) };
}

describe.each(TEST_SERVERS)('on $name,', (server) => {
  const database = server.use();
  let application: SqlApplication;
  let sql: Sql;

  beforeAll(async () => {
    // One connection: whatever is sent too late meets the next transaction.
    application = await startSql({ url: database.url, maxConnections: 1 });
    sql = application.sql;
    await sql.execute('CREATE TABLE entry (name varchar(50) PRIMARY KEY)');
  });
  beforeEach(() => sql.execute('DELETE FROM entry'));
  afterAll(() => application.app.close());

  const names = async () =>
    (await sql.query<{ name: string }>('SELECT name FROM entry ORDER BY name')).map((row) => row.name);

  describe('a savepoint that nobody awaits', () => {
    it('touches no transaction but its own, though its connection serves another one by then', async () => {
      let late: ReturnType<typeof stray> | undefined;
      const failing = sql.transaction(async (tx) => {
        late = stray(tx);
        throw new Error('first');
      });
      await expect(failing).rejects.toThrow('first');

      await sql.transaction(async (tx) => {
        await put(tx, 'a');
        // Of the same name at the server as the stray one.
        await tx.savepoint?.(async () => {
          await put(tx, 'b');
          late?.end();
          expect(await late?.outcome).toBeInstanceOf(TransactionEndedError);
        });
      });
      expect(await names()).toEqual(['a', 'b']);
    });

    it('takes no hook of its transaction along when it outlives the savepoint around it', async () => {
      const called: string[] = [];
      await sql.transaction(async (tx) => {
        let late: ReturnType<typeof stray> | undefined;
        const around = tx.savepoint?.(async () => {
          late = stray(tx);
        });
        await expect(around).rejects.toThrow(TransactionMisuseError);
        tx.beforeCommit?.(async () => {
          called.push('before commit');
          await put(tx, 'by the hook');
        });
        late?.end();
        expect(await late?.outcome).toBeInstanceOf(TransactionMisuseError);
      });
      expect(called).toEqual(['before commit']);
      expect(await names()).toEqual(['by the hook']);
    });
  });

  describe('savepoints of an explicit handle', () => {
    it('refuse what comes from outside while one is open, and a statement of theirs after its end', async () => {
      const { tx, commit } = await server.beginForeign(database.url);
      let leaked: Promise<unknown> = Promise.resolve();
      const inner = tx.savepoint?.(async () => {
        await put(tx, 'inside');
        await tx.savepoint?.(() => put(tx, 'nested'));
        leaked = new Promise((resolve) => setImmediate(resolve)).then(() => inner).then(() => put(tx, 'leaked'));
        leaked.catch(() => undefined);
      });
      await expect(put(tx, 'outside')).rejects.toThrow(TransactionMisuseError);
      await expect(tx.savepoint?.(() => put(tx, 'beside'))).rejects.toThrow(TransactionMisuseError);
      await inner;
      await expect(leaked).rejects.toThrow(TransactionMisuseError);
      await put(tx, 'afterwards');
      await commit();
      expect(await names()).toEqual(['afterwards', 'inside', 'nested']);
    });
  });
});
