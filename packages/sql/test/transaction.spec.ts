import 'reflect-metadata';
import {
  type Sql,
  TransactionAbortedError,
  TransactionEndedError,
  TransactionMisuseError,
  TransactionRequiredError,
} from '@lockstep/sql';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';
import { TEST_SERVERS } from './support/test-servers.js';

describe.each(TEST_SERVERS)('sql.transaction on $name', (server) => {
  const database = server.use();
  const isPostgres = server.name === 'postgres';
  let application: SqlApplication;
  let sql: Sql;

  beforeAll(async () => {
    application = await startSql({ url: database.url });
    sql = application.sql;
    await sql.execute('CREATE TABLE entry (name varchar(50) PRIMARY KEY)');
    if (isPostgres) await sql.execute('CREATE TABLE guarded (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)');
  });
  beforeEach(async () => {
    await sql.execute('DELETE FROM entry');
  });
  afterAll(() => application.app.close());

  const put = (name: string) => sql.requireCurrent('put').execute('INSERT INTO entry VALUES ($1)', [name]);
  const names = async () =>
    (await sql.query<{ name: string }>('SELECT name FROM entry ORDER BY name')).map((row) => row.name);

  it('commits what was done when the work resolves, and gives its result', async () => {
    expect(await sql.transaction(async (tx) => tx.execute("INSERT INTO entry VALUES ('a'), ('b')"))).toBe(2);
    expect(await names()).toEqual(['a', 'b']);
  });

  it('rolls back when the work rejects, and passes the rejection on by identity', async () => {
    const reason = new Error('no');
    const work = sql.transaction(async () => {
      await put('a');
      throw reason;
    });
    await expect(work).rejects.toBe(reason);
    expect(await names()).toEqual([]);
  });

  it('is found by everything that the work awaits, and by nothing else', async () => {
    await sql.transaction(async (tx) => {
      await Promise.resolve();
      expect(sql.current()).toBe(tx);
    });
    expect(sql.current()).toBeUndefined();
    expect(() => sql.requireCurrent('outbox.publish')).toThrow(TransactionRequiredError);
  });

  it('keeps transactions that run side by side apart', async () => {
    await Promise.all(
      ['a', 'b', 'c'].map((name) =>
        sql.transaction(async () => {
          await put(name);
          if (name === 'b') throw new Error('b');
        }),
      ),
    ).catch(() => undefined);
    await expect.poll(names).toEqual(['a', 'c']);
  });

  it('runs statements that are sent at the same time one after the other', async () => {
    await sql.transaction(() => Promise.all(['a', 'b', 'c'].map(put)));
    expect(await names()).toEqual(['a', 'b', 'c']);
  });

  it('refuses a handle after its end', async () => {
    const kept = await sql.transaction(async (tx) => tx);
    await expect(kept.query('SELECT 1')).rejects.toThrow(TransactionEndedError);
    await expect(kept.execute('SELECT 1')).rejects.toThrow(TransactionEndedError);
    expect(() => kept.beforeCommit?.(async () => undefined)).toThrow(TransactionEndedError);
    expect(() => kept.afterCommit?.(() => undefined)).toThrow(TransactionEndedError);
    await expect(kept.savepoint?.(async () => 1)).rejects.toThrow(TransactionEndedError);
  });

  it('refuses work of a promise that nobody awaited, once the transaction has ended', async () => {
    let goOn: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let late: Promise<unknown> = Promise.resolve();
    await sql.transaction(async () => {
      late = ended.then(() => put('late'));
      late.catch(() => undefined);
    });
    goOn();
    await expect(late).rejects.toThrow(TransactionEndedError);
    expect(await names()).toEqual([]);
  });

  it.runIf(isPostgres)(
    'never reports success when the error of a statement was caught and Postgres answers COMMIT by rolling back',
    async () => {
      const duplicate = sql.transaction(async () => {
        await put('a');
        await put('a').catch(() => undefined);
      });
      await expect(duplicate).rejects.toBeInstanceOf(TransactionAbortedError);
      await expect(duplicate).rejects.toMatchObject({ cause: { code: '23505' } });
      expect(await names()).toEqual([]);
    },
  );

  it.runIf(isPostgres)(
    'names the error that was caught, where a later statement is refused because of it',
    async () => {
      await sql.execute("INSERT INTO entry VALUES ('a')");
      const work = sql.transaction(async (tx) => {
        await tx.execute("INSERT INTO entry VALUES ('a')").catch(() => 'caught');
        await tx.query('SELECT 1');
      });
      await expect(work).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED', cause: { code: '23505' } });
    },
  );

  it.runIf(!isPostgres)('lives on after the caught error of a statement, which MariaDB undoes alone', async () => {
    await sql.transaction(async () => {
      await put('a');
      await expect(put('a')).rejects.toMatchObject(server.duplicate);
      await put('b');
    });
    expect(await names()).toEqual(['a', 'b']);
  });

  it.each(['ROLLBACK', 'commit', ' -- done\n END', '/* now */ BEGIN', 'SAVEPOINT mine', 'RELEASE mine', 'ABORT'])(
    'refuses %j, which would make what it says of the commit a lie',
    async (statement) => {
      const work = sql.transaction(async (tx) => {
        await tx.execute("INSERT INTO entry VALUES ('a')");
        await tx.execute(statement);
      });
      await expect(work).rejects.toBeInstanceOf(TransactionMisuseError);
      expect(await names()).toEqual([]);
    },
  );

  it.runIf(isPostgres)(
    'passes the error of a constraint that is checked at COMMIT on by identity of its code, and applies nothing',
    async () => {
      const work = sql.transaction(async (tx) => {
        await put('a');
        await tx.execute("INSERT INTO guarded VALUES ('x'), ('x')");
      });
      await expect(work).rejects.toMatchObject({ code: '23505', severity: 'ERROR' });
      expect(await names()).toEqual([]);
    },
  );

  describe('hooks', () => {
    it('before the commit run in order inside the transaction, and may register more', async () => {
      const order: string[] = [];
      await sql.transaction(async (tx) => {
        tx.beforeCommit?.(async () => {
          order.push('first');
          tx.beforeCommit?.(async () => {
            await put('from the third');
            order.push('third');
          });
        });
        tx.beforeCommit?.(async () => {
          expect(sql.current()).toBe(tx);
          order.push('second');
        });
        order.push('work');
      });
      expect(order).toEqual(['work', 'first', 'second', 'third']);
      expect(await names()).toEqual(['from the third']);
    });

    it('before the commit roll back when they reject', async () => {
      const reason = new Error('no');
      const work = sql.transaction(async (tx) => {
        await put('a');
        tx.beforeCommit?.(() => Promise.reject(reason));
      });
      await expect(work).rejects.toBe(reason);
      expect(await names()).toEqual([]);
    });

    it('after the commit run when it is known, outside of the transaction', async () => {
      const seen: unknown[] = [];
      await sql.transaction(async (tx) => {
        tx.afterCommit?.(() => seen.push(sql.current()));
        expect(seen).toEqual([]);
      });
      expect(seen).toEqual([undefined]);
    });

    it('after the commit do not run when it was rolled back', async () => {
      const seen: string[] = [];
      const failing = sql.transaction(async (tx) => {
        tx.afterCommit?.(() => seen.push('called'));
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
      expect(seen).toEqual([]);
    });

    it('after the commit cannot fail the transaction: what they throw or reject with is an incident', async () => {
      const before = application.incidents.length;
      const seen: string[] = [];
      await sql.transaction(async (tx) => {
        tx.afterCommit?.(() => {
          throw new Error('thrown');
        });
        // oxlint-disable-next-line typescript/no-misused-promises -- the compiler lets it pass, so it happens
        tx.afterCommit?.(() => Promise.reject(new Error('rejected')));
        tx.afterCommit?.(() => seen.push('last'));
      });
      expect(seen).toEqual(['last']);
      await expect
        .poll(() => application.incidents.slice(before))
        .toEqual(['AFTER_COMMIT_FAILED', 'AFTER_COMMIT_FAILED']);
    });
  });

  describe('propagation', () => {
    it("'required' joins: one transaction, one end", async () => {
      const work = sql.transaction(async (outer) => {
        await sql.transaction(async (inner) => {
          expect(inner).toBe(outer);
          await put('inner');
        });
        throw new Error('outer');
      });
      await expect(work).rejects.toThrow('outer');
      expect(await names()).toEqual([]);
    });

    it("'required' refuses an isolation level that the open transaction does not have", async () => {
      await sql.transaction(async () => {
        const join = sql.transaction(async () => 1, { isolation: 'serializable' });
        await expect(join).rejects.toThrow(/serializable/);
      });
      await sql.transaction(
        async () => {
          expect(await sql.transaction(async () => 1, { isolation: 'serializable' })).toBe(1);
        },
        { isolation: 'serializable' },
      );
    });

    it("'requires-new' commits on its own, whatever becomes of the transaction around it", async () => {
      const called: unknown[] = [];
      const work = sql.transaction(async (outer) => {
        await put('outer');
        await sql.transaction(
          async (inner) => {
            expect(sql.current()).toBe(inner);
            expect(inner).not.toBe(outer);
            inner.afterCommit?.(() => called.push(['inner', sql.current()]));
            await put('inner');
          },
          { propagation: 'requires-new' },
        );
        expect(called).toEqual([['inner', undefined]]);
        expect(sql.current()).toBe(outer);
        throw new Error('outer');
      });
      await expect(work).rejects.toThrow('outer');
      expect(await names()).toEqual(['inner']);
    });

    it("'nested' fails alone", async () => {
      await sql.transaction(async () => {
        await put('outer');
        const step = sql.transaction(
          async () => {
            await put('nested');
            throw new Error('nested');
          },
          { propagation: 'nested' },
        );
        await expect(step).rejects.toThrow('nested');
      });
      expect(await names()).toEqual(['outer']);
    });

    it("'nested' without a transaction begins one", async () => {
      await sql.transaction(() => put('a'), { propagation: 'nested' });
      expect(await names()).toEqual(['a']);
    });

    it('gives the isolation level that was asked for', async () => {
      const level = await sql.transaction((tx) => server.isolationOf(tx), { isolation: 'repeatable read' });
      expect(level).toBe('repeatable read');
    });
  });

  describe('savepoints', () => {
    it('undo a failed step, even one that failed in the database, and let the transaction live', async () => {
      await sql.transaction(async (tx) => {
        await put('a');
        await expect(tx.savepoint?.(() => put('a'))).rejects.toMatchObject(server.duplicate);
        await put('b');
      });
      expect(await names()).toEqual(['a', 'b']);
    });

    it('drop the hooks that were registered in them when they are rolled back, nested ones included', async () => {
      const called: string[] = [];
      const register = (name: string) => {
        const tx = sql.requireCurrent('test');
        tx.beforeCommit?.(async () => {
          called.push(`before ${name}`);
        });
        tx.afterCommit?.(() => called.push(`after ${name}`));
      };
      await sql.transaction(async (tx) => {
        register('1');
        await tx
          .savepoint?.(async () => {
            register('2');
            await tx.savepoint?.(async () => register('3'));
            throw new Error('no');
          })
          .catch(() => undefined);
        await tx.savepoint?.(async () => register('4'));
        register('5');
      });
      expect(called).toEqual(['before 1', 'before 4', 'before 5', 'after 1', 'after 4', 'after 5']);
    });

    it.runIf(isPostgres)(
      'never release what failed: a caught error of a statement inside is an error of the savepoint',
      async () => {
        await sql.transaction(async (tx) => {
          await put('a');
          const step = tx.savepoint?.(async () => {
            await put('b');
            await put('a').catch(() => undefined);
          });
          await expect(step).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED', cause: { code: '23505' } });
        });
        expect(await names()).toEqual(['a']);
      },
    );

    it('refuse a statement from outside while they are open, for it would be undone with them', async () => {
      await sql.transaction(async (tx) => {
        let release: () => void = () => undefined;
        const held = new Promise<void>((resolve) => {
          release = resolve;
        });
        const step = tx.savepoint?.(() => held);
        expect(() => sql.requireCurrent('outbox.publish')).toThrow(TransactionMisuseError);
        await expect(tx.execute("INSERT INTO entry VALUES ('outside')")).rejects.toThrow(TransactionMisuseError);
        await expect(tx.savepoint?.(async () => 1)).rejects.toThrow(TransactionMisuseError);
        release();
        await step;
        await put('afterwards');
      });
      expect(await names()).toEqual(['afterwards']);
    });

    it('refuse a statement of theirs that comes after their end', async () => {
      await sql.transaction(async (tx) => {
        let release: () => void = () => undefined;
        const held = new Promise<void>((resolve) => {
          release = resolve;
        });
        let late: Promise<unknown> = Promise.resolve();
        await tx.savepoint?.(async () => {
          late = held.then(() => put('late'));
          late.catch(() => undefined);
        });
        release();
        await expect(late).rejects.toThrow(TransactionMisuseError);
      });
      expect(await names()).toEqual([]);
    });

    it('that are still open when the work resolves roll the transaction back', async () => {
      let release: () => void = () => undefined;
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      let step: Promise<unknown> | undefined;
      const work = sql.transaction(async (tx) => {
        await put('a');
        step = tx.savepoint?.(() => held);
        step?.catch(() => undefined);
      });
      await expect(work).rejects.toThrow(TransactionMisuseError);
      release();
      await expect(step).rejects.toThrow();
      expect(await names()).toEqual([]);
    });
  });
});
