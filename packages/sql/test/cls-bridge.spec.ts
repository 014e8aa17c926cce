import 'reflect-metadata';
import { Inbox, Sql, SqlModule, type SqlTransaction, TransactionMisuseError } from '@lockstep/sql';
import { clsTransactionBridge } from '@lockstep/sql/cls';
import { pgDriver, pgTransaction } from '@lockstep/sql/postgres';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  ClsPluginTransactional,
  Transactional as ClsTransactional,
  Propagation,
  TransactionHost,
} from '@nestjs-cls/transactional';
import { ClsModule } from 'nestjs-cls';
import pg from 'pg';
import { v7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

type SetTx = (client?: pg.PoolClient) => void;

/** As an application without an adapter of the library's own would write it. */
function pgAdapter(pool: pg.Pool) {
  const inTransaction = async (fn: () => Promise<unknown>, setTx: SetTx): Promise<unknown> => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      setTx(client);
      const result = await fn();
      await client.query('COMMIT');
      return result;
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  };
  return {
    connection: pool,
    optionsFactory: () => ({
      wrapWithTransaction: (_options: unknown, fn: () => Promise<unknown>, setTx: SetTx) => inTransaction(fn, setTx),
      getFallbackInstance: () => pool as unknown as pg.PoolClient,
    }),
  };
}

@Injectable()
class Orders {
  readonly seen: (SqlTransaction | undefined)[] = [];

  constructor(
    @Inject(TransactionHost) private readonly host: TransactionHost,
    @Inject(Sql) private readonly sql: Sql,
    @Inject(Inbox) private readonly inbox: Inbox,
  ) {}

  @ClsTransactional()
  async place(name: string, failure?: Error): Promise<void> {
    await (this.host.tx as pg.PoolClient).query('INSERT INTO entry VALUES ($1)', [`${name} by the library`]);
    this.seen.push(this.sql.current(), this.sql.current());
    await this.sql.requireCurrent('test').execute('INSERT INTO entry VALUES ($1)', [name]);
    if (failure) throw failure;
  }

  @ClsTransactional()
  async placeAround(name: string, inner: () => Promise<unknown>): Promise<void> {
    await this.sql.requireCurrent('test').execute('INSERT INTO entry VALUES ($1)', [name]);
    await inner();
  }

  @ClsTransactional(Propagation.RequiresNew)
  async audit(): Promise<SqlTransaction> {
    return this.sql.requireCurrent('test');
  }

  @ClsTransactional()
  async receive(messageId: string): Promise<boolean> {
    return this.inbox.once(this.sql.requireCurrent('test'), 'orders', messageId);
  }
}

describe('clsTransactionBridge', () => {
  const postgres = usePostgres();
  let pool: pg.Pool;
  let app: TestingModule;
  let orders: Orders;
  let sql: Sql;

  beforeAll(async () => {
    pool = new pg.Pool({ connectionString: postgres.url, max: 4 });
    app = await Test.createTestingModule({
      imports: [
        ClsModule.forRoot({ global: true, plugins: [new ClsPluginTransactional({ adapter: pgAdapter(pool) })] }),
        SqlModule.forRoot({
          driver: pgDriver({ pool }),
          bridge: clsTransactionBridge({ toTransaction: (tx: pg.PoolClient) => pgTransaction(tx) }),
        }),
      ],
      providers: [Orders],
    }).compile();
    await app.init();
    orders = app.get(Orders);
    sql = app.get(Sql);
    await pool.query('CREATE TABLE entry (name text PRIMARY KEY)');
    await app.get(Inbox).prepare();
  });
  afterAll(async () => {
    await app.close();
    await pool.end();
  });
  beforeEach(async () => {
    await pool.query('TRUNCATE entry, lockstep_inbox');
  });

  const names = async () => (await pool.query('SELECT name FROM entry ORDER BY name')).rows.map(({ name }) => name);

  it("commits our statements with the library's", async () => {
    await orders.place('a');
    expect(await names()).toEqual(['a', 'a by the library']);
  });

  it('rolls them back together', async () => {
    const failure = new Error('business');
    await expect(orders.place('a', failure)).rejects.toBe(failure);
    expect(await names()).toEqual([]);
  });

  it('gives one handle per transaction, and none outside of one', async () => {
    orders.seen.length = 0;
    await orders.place('a');
    expect(orders.seen[0]).toBeDefined();
    expect(orders.seen[0]).toBe(orders.seen[1]);
    expect(sql.current()).toBeUndefined();
    expect(() => sql.requireCurrent('outbox.publish')).toThrow(/outbox\.publish/);
  });

  it('promises no hooks around a commit that it cannot observe', async () => {
    const tx = await orders.audit();
    expect('beforeCommit' in tx || 'afterCommit' in tx).toBe(false);
  });

  it("lets sql.transaction join the library's transaction", async () => {
    const failing = orders.placeAround('a', async () => {
      await sql.transaction((tx) => tx.execute("INSERT INTO entry VALUES ('joined')"));
      throw new Error('late');
    });
    await expect(failing).rejects.toThrow('late');
    expect(await names()).toEqual([]);
  });

  it('finds the transaction that the library opened last, also from within a block that joined', async () => {
    await orders.placeAround('a', () =>
      sql.transaction(async (joined) => {
        expect(await orders.audit()).not.toBe(joined);
        expect(sql.current()).toBe(joined);
      }),
    );
  });

  it('undoes a nested step alone, also one inside another', async () => {
    await orders.placeAround('a', async () => {
      await sql.transaction(
        async (tx) => {
          await tx.execute("INSERT INTO entry VALUES ('outer')");
          const inner = sql.transaction((again) => again.execute("INSERT INTO entry VALUES ('outer')"), {
            propagation: 'nested',
          });
          await expect(inner).rejects.toMatchObject({ code: '23505' });
        },
        { propagation: 'nested' },
      );
    });
    expect(await names()).toEqual(['a', 'outer']);
  });

  it('begins a transaction of ours beside it when that is asked for', async () => {
    const failing = orders.placeAround('a', async () => {
      await sql.transaction((tx) => tx.execute("INSERT INTO entry VALUES ('own')"), { propagation: 'requires-new' });
      throw new Error('late');
    });
    await expect(failing).rejects.toThrow('late');
    expect(await names()).toEqual(['own']);
  });

  it('carries the inbox in the transaction of the library', async () => {
    const id = v7();
    expect([await orders.receive(id), await orders.receive(id)]).toEqual([true, false]);
  });
});

describe('an explicit handle', () => {
  const postgres = usePostgres();

  it('runs our statements in a transaction that the caller began, and leaves its end to him', async () => {
    const client = new pg.Client(postgres.url);
    await client.connect();
    await client.query('CREATE TABLE entry (name text PRIMARY KEY)');
    const app = await Test.createTestingModule({
      imports: [SqlModule.forRoot({ driver: pgDriver({ url: postgres.url }) })],
    }).compile();
    const sql = app.get(Sql);
    const handle = pgTransaction(client);

    await client.query('BEGIN');
    const found = await sql.use(handle, async () => {
      await Promise.all(['a', 'b'].map((name) => handle.execute('INSERT INTO entry VALUES ($1)', [name])));
      await expect(handle.savepoint?.(() => handle.execute("INSERT INTO entry VALUES ('a')"))).rejects.toMatchObject({
        code: '23505',
      });
      return sql.current();
    });
    expect(found).toBe(handle);
    expect(sql.current()).toBeUndefined();
    expect(await sql.query('SELECT name FROM entry')).toEqual([]);
    await client.query('COMMIT');
    expect(await sql.query('SELECT name FROM entry ORDER BY name')).toEqual([{ name: 'a' }, { name: 'b' }]);
    await app.close();
    await client.end();
  });

  it('sends one statement at a time, in order, for clients do not queue them', async () => {
    const open = new Set<string>();
    const sent: string[] = [];
    const handle = pgTransaction({
      query: async (text) => {
        expect([...open]).toEqual([]);
        open.add(text);
        sent.push(text);
        await Promise.resolve();
        open.delete(text);
        if (text === 'two') throw new Error('refused');
        return { command: 'SELECT', rowCount: 0, rows: [] };
      },
    });
    const results = await Promise.allSettled(['one', 'two', 'three'].map((text) => handle.query(text)));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(sent).toEqual(['one', 'two', 'three']);
  });

  it('without savepoints cannot be nested in', async () => {
    const app = await Test.createTestingModule({
      imports: [SqlModule.forRoot({ driver: pgDriver({ url: postgres.url }) })],
    }).compile();
    const sql = app.get(Sql);
    const handle: SqlTransaction = { dialect: 'postgres', query: async () => [], execute: async () => 0 };
    const nested = sql.use(handle, () => sql.transaction(async () => 1, { propagation: 'nested' }));
    await expect(nested).rejects.toBeInstanceOf(TransactionMisuseError);
    await app.close();
  });
});
