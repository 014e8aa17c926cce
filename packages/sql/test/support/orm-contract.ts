import { Inbox, type SqlTransaction, TransactionEndedError, TransactionMisuseError } from '@lockstep/sql';
import { v7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OrmApplication, OrmLibrary } from './orm-libraries.js';
import { type SqlApplication, startSql } from './sql-application.js';
import { type DirectClient, TEST_SERVERS, type TestServer } from './test-servers.js';

const put = (tx: SqlTransaction, name: string) => tx.execute('INSERT INTO entry VALUES ($1, 0)', [name]);
const later = () => new Promise((resolve) => setImmediate(resolve));

/** What a handle on the transaction of any library must keep. */
export function describeOrmTransactions(libraries: readonly OrmLibrary[], dialect: TestServer['name']): void {
  const server = TEST_SERVERS.find(({ name }) => name === dialect) as TestServer;

  describe(`on ${dialect},`, () => {
    const database = server.use();
    let application: SqlApplication;
    let direct: DirectClient;

    beforeAll(async () => {
      application = await startSql({ url: database.url });
      direct = await server.connect(database.url);
      await direct.query('CREATE TABLE entry (name varchar(50) PRIMARY KEY, number integer NOT NULL)');
      await application.app.get(Inbox).prepare();
    });
    afterAll(async () => {
      await direct.end();
      await application.app.close();
    });

    describe.each(libraries)('a handle on a transaction of $name', (library) => {
      let orm: OrmApplication;
      const names = async () => (await direct.query('SELECT name FROM entry ORDER BY name')).map(({ name }) => name);

      beforeAll(async () => {
        orm = await library.open(database.url);
      });
      afterAll(() => orm.close());
      beforeEach(() => direct.query('DELETE FROM entry'));

      it('keeps what was done with the commit of the library, and not before', async () => {
        await orm.transaction(async (tx) => {
          await tx.run("INSERT INTO entry VALUES ('by the library', 1)");
          await put(tx.handle(), 'ours');
          expect(await names()).toEqual([]);
        });
        expect(await names()).toEqual(['by the library', 'ours']);
      });

      it('drops it when the library rolls back', async () => {
        const failure = new Error('business');
        const failing = orm.transaction(async (tx) => {
          await tx.run("INSERT INTO entry VALUES ('by the library', 1)");
          await put(tx.handle(), 'ours');
          throw failure;
        });
        await expect(failing).rejects.toBe(failure);
        expect(await names()).toEqual([]);
      });

      it('undoes a savepoint alone, also one inside another, and refuses what comes from outside of it', async () => {
        await orm.transaction(async (tx) => {
          const handle = tx.handle();
          await put(handle, 'before');
          const step = handle.savepoint?.(async () => {
            await put(handle, 'kept');
            const inner = handle.savepoint?.(async () => {
              await put(handle, 'undone');
              await put(handle, 'before');
            });
            await expect(inner).rejects.toMatchObject(server.duplicate);
          });
          await expect(put(handle, 'outside')).rejects.toBeInstanceOf(TransactionMisuseError);
          await step;
          await put(handle, 'after');
        });
        expect(await names()).toEqual(['after', 'before', 'kept']);
      });

      it('gives values back as they were sent', async () => {
        const text = 'é☃😀 \'quoted\' "twice" \\ ? $1 :name';
        const big = '9007199254740993';
        const json = '{"a":["?","$2",null]}';
        const [row] = await orm.transaction((tx) =>
          tx.handle().query(
            `SELECT ${server.name === 'postgres' ? '$2::text' : '$2'} AS text, '?' AS mark, '$1' AS dollar, 'a''?b' AS quoted,
              CAST($1 AS ${server.name === 'postgres' ? 'bigint' : 'signed'}) AS big, CAST($3 AS char(40)) AS json,
              CAST($4 AS char(5)) AS nothing, CAST($1 AS char(20)) AS again /* ? $9 */`,
            [big, text, json, null],
          ),
        );
        expect({ ...(row ?? {}), json: String(row?.json).trim(), again: String(row?.again).trim() }).toEqual({
          text,
          mark: '?',
          dollar: '$1',
          quoted: "a'?b",
          big,
          json,
          nothing: null,
          again: big,
        });
      });

      it('takes booleans, bytes and undefined', async () => {
        const [row] = await orm.transaction((tx) =>
          server.name === 'postgres'
            ? tx
                .handle()
                .query('SELECT $1::boolean AS yes, $2::bytea AS bytes, $3::text AS nothing, $4::text[] AS list', [
                  true,
                  Buffer.from([0, 255]),
                  undefined,
                  ['a', '?,"'],
                ])
            : tx
                .handle()
                .query('SELECT $1 = TRUE AS yes, CAST($2 AS binary(2)) AS bytes, $3 AS nothing', [
                  true,
                  Buffer.from([0, 255]),
                  undefined,
                ]),
        );
        expect(row?.bytes).toEqual(Buffer.from([0, 255]));
        expect([Boolean(Number(row?.yes)), row?.nothing]).toEqual([true, null]);
        if (server.name === 'postgres') expect(row?.list).toEqual(['a', '?,"']);
      });

      it('counts the rows that a statement touched', async () => {
        await orm.transaction(async (tx) => {
          const handle = tx.handle();
          expect(await handle.execute("INSERT INTO entry VALUES ('a', 1), ('b', 1), ('c', 2)")).toBe(3);
          // What stays as it was is touched, too.
          expect(await handle.execute('UPDATE entry SET number = 1 WHERE number = $1', [1])).toBe(2);
          expect(await handle.execute('DELETE FROM entry WHERE number = $1', [7])).toBe(0);
          expect(await handle.query('SELECT name, number FROM entry WHERE number = $1', [2])).toEqual([
            { name: 'c', number: 2 },
          ]);
          expect(await handle.query("INSERT INTO entry VALUES ('d', 1) RETURNING name")).toEqual([{ name: 'd' }]);
        });
      });

      it('runs statements that are sent at the same time in the order in which they were sent', async () => {
        await orm.transaction(async (tx) => {
          const handle = tx.handle();
          const touched = await Promise.all([
            put(handle, 'a'),
            handle.execute('UPDATE entry SET number = number + 1 WHERE name = $1', ['a']),
            handle.execute('UPDATE entry SET number = number * 10 WHERE name = $1', ['a']),
          ]);
          expect(touched).toEqual([1, 1, 1]);
          expect(await handle.query('SELECT number FROM entry')).toEqual([{ number: 10 }]);
        });
      });

      it('passes the error of the database with its code, and the work goes on from a savepoint', async () => {
        await orm.transaction(async (tx) => {
          const handle = tx.handle();
          const step = handle.savepoint?.(() => handle.query('SELECT nothing FROM entry'));
          await expect(step).rejects.toMatchObject({ code: (server.unknownColumn as { code: string }).code });
          await put(handle, 'a');
        });
        expect(await names()).toEqual(['a']);
      });

      it('is the same one for the same transaction, and another one for the next', async () => {
        const first = await orm.transaction(async (tx) => {
          expect(tx.handle()).toBe(tx.handle());
          expect(tx.handle().dialect).toBe(server.name);
          return tx.handle();
        });
        await orm.transaction(async (tx) => expect(tx.handle()).not.toBe(first));
      });

      it.each([
        ['committed', undefined],
        ['rolled back', new Error('business')],
      ])(
        'refuses a statement once the library has %s, also while its connection serves the next',
        async (_, failure) => {
          const left: { handle?: SqlTransaction; ask?: () => SqlTransaction } = {};
          const first = orm.transaction(async (tx) => {
            left.ask = tx.handle;
            left.handle = tx.handle();
            await left.handle.query('SELECT 1 AS one');
            if (failure) throw failure;
          });
          await (failure ? expect(first).rejects.toBe(failure) : first);
          const stale = left.handle as SqlTransaction;
          const refused = async () => {
            await expect(put(stale, 'late')).rejects.toBeInstanceOf(TransactionEndedError);
            await expect((async () => put((left.ask as () => SqlTransaction)(), 'asked late'))()).rejects.toMatchObject(
              {
                code: expect.stringMatching(/^TRANSACTION_(?:ENDED|MISUSE)$/),
              },
            );
            await expect(stale.savepoint?.(() => put(stale, 'nested'))).rejects.toBeInstanceOf(TransactionEndedError);
          };
          await refused();
          await orm.transaction(async (tx) => {
            await put(tx.handle(), 'next');
            await refused();
          });
          expect(await names()).toEqual(['next']);
        },
      );

      it('leaves nothing of what is sent at any moment around its rollback', async () => {
        const sent: Promise<unknown>[] = [];
        const failure = new Error('business');
        const failing = orm.transaction(async (tx) => {
          const handle = tx.handle();
          await put(handle, 'in time');
          sent.push(
            (async () => {
              for (let round = 0; round < 100; round += 1) {
                sent.push(Promise.allSettled([put(handle, `late ${round}`)]));
                await later();
              }
            })(),
          );
          throw failure;
        });
        await expect(failing).rejects.toBe(failure);
        await sent[0];
        await Promise.all(sent);
        expect(sent.length).toBe(101);
        expect(await names()).toEqual([]);
      });

      it('refuses what nobody awaited and was first asked for after the end', async () => {
        let late: Promise<unknown> = Promise.resolve();
        await orm.transaction(async (tx) => {
          await tx.run("INSERT INTO entry VALUES ('in time', 1)");
          const afterwards = later().then(later);
          late = (async () => {
            await afterwards;
            while ((await names()).length === 0) await later();
            await put(tx.handle(), 'late');
          })();
          late.catch(() => undefined);
        });
        await expect(late).rejects.toMatchObject({ code: expect.stringMatching(/^TRANSACTION_(?:ENDED|MISUSE)$/) });
        expect(await names()).toEqual(['in time']);
      });

      it('is refused where no transaction is open, and the message says what to pass', () => {
        for (const ask of orm.bare) {
          expect(ask).toThrow(TransactionMisuseError);
          expect(ask).toThrow(/committed by itself\. Pass .*/);
        }
      });

      it('carries the inbox', async () => {
        const inbox = application.app.get(Inbox);
        const id = v7();
        const receive = (failure?: Error) =>
          orm.transaction(async (tx) => {
            const isFirst = await inbox.once(tx.handle(), 'points', id);
            if (failure) throw failure;
            return isFirst;
          });
        await expect(receive(new Error('business'))).rejects.toThrow('business');
        expect([await receive(), await receive()]).toEqual([true, false]);
      });

      it('says that nothing was applied when its connection is lost', async () => {
        let told: unknown;
        const failing = orm.transaction(async (tx) => {
          const handle = tx.handle();
          await put(handle, 'lost');
          const cut = handle.query(server.endOwnSession).then(() => handle.query('SELECT 1 AS one'));
          told = await cut.catch((error: unknown) => error);
          throw told;
        });
        await expect(failing).rejects.toThrow();
        expect(told).toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
        expect(await names()).toEqual([]);
        await orm.transaction((tx) => put(tx.handle(), 'again'));
      });
    });
  });
}
