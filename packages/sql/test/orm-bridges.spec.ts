import 'reflect-metadata';
import { Sql, SqlModule, TransactionEndedError, TransactionMisuseError } from '@lockstep/sql';
import { clsTransactionBridge } from '@lockstep/sql/cls';
import { drizzleTransaction } from '@lockstep/sql/drizzle';
import { knexTransaction } from '@lockstep/sql/knex';
import { kyselyTransaction } from '@lockstep/sql/kysely';
import { mikroOrmTransactionBridge } from '@lockstep/sql/mikro-orm';
import { pgDriver } from '@lockstep/sql/postgres';
import { prismaTransaction } from '@lockstep/sql/prisma';
import { typeormTransaction } from '@lockstep/sql/typeorm';
import { usePostgres } from '@lockstep/testing/vitest';
import { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { Global, Inject, Injectable, Module, type ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { ClsPluginTransactional, Transactional, TransactionHost } from '@nestjs-cls/transactional';
import { Kysely, PostgresDialect, sql as raw, type Transaction } from 'kysely';
import { ClsModule } from 'nestjs-cls';
import pg from 'pg';
import { DataSource, type EntityManager as TypeOrmManager } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

type Begin<Tx> = <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;

/** As the adapters of `@nestjs-cls` are written. */
function clsAdapter<Tx>(connection: unknown, begin: Begin<Tx>) {
  return {
    connection,
    optionsFactory: () => ({
      wrapWithTransaction: (_options: unknown, fn: () => Promise<unknown>, setTx: (tx?: Tx) => void) =>
        begin(async (tx) => {
          setTx(tx);
          return fn();
        }),
      getFallbackInstance: () => connection as Tx,
    }),
  };
}

/** What a service does with the transaction that it is in. */
@Injectable()
class Orders {
  constructor(
    @Inject(TransactionHost) private readonly host: TransactionHost,
    @Inject(Sql) private readonly sql: Sql,
  ) {}

  @Transactional()
  async place(name: string, insert: (tx: never, name: string) => Promise<unknown>, failure?: Error): Promise<void> {
    await insert(this.host.tx as never, `${name} by the library`);
    const tx = this.sql.requireCurrent('test');
    expect(this.sql.current()).toBe(tx);
    await this.sql.transaction((joined) => joined.execute('INSERT INTO entry VALUES ($1)', [name]));
    const step = this.sql.transaction((again) => again.execute('INSERT INTO entry VALUES ($1)', [name]), {
      propagation: 'nested',
    });
    await expect(step).rejects.toMatchObject({ code: '23505' });
    if (failure) throw failure;
  }
}

async function startNest(metadata: ModuleMetadata): Promise<TestingModule> {
  const app = await Test.createTestingModule(metadata).compile();
  await app.init();
  return app;
}

describe('the current transaction of a library', () => {
  const postgres = usePostgres();
  let direct: pg.Client;
  const names = async () => (await direct.query('SELECT name FROM entry ORDER BY name')).rows.map(({ name }) => name);

  beforeAll(async () => {
    direct = new pg.Client(postgres.url);
    await direct.connect();
    await direct.query('CREATE TABLE entry (name text PRIMARY KEY)');
  });
  beforeEach(() => direct.query('TRUNCATE entry'));
  afterAll(() => direct.end());

  const clsLibraries = {
    TypeORM: async () => {
      const source = await new DataSource({ type: 'postgres', url: postgres.url }).initialize();
      return {
        adapter: clsAdapter<TypeOrmManager>(source.manager, (work) => source.transaction(work)),
        bridge: clsTransactionBridge({ toTransaction: (em: TypeOrmManager) => typeormTransaction(em) }),
        insert: (em: TypeOrmManager, name: string) => em.query('INSERT INTO entry VALUES ($1)', [name]),
        close: () => source.destroy(),
      };
    },
    Kysely: async () => {
      const db = new Kysely<unknown>({
        dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: postgres.url }) }),
      });
      return {
        adapter: clsAdapter<Transaction<unknown>>(db, (work) => db.transaction().execute(work)),
        bridge: clsTransactionBridge({ toTransaction: (trx: Transaction<unknown>) => kyselyTransaction(trx) }),
        insert: (trx: Transaction<unknown>, name: string) => raw`INSERT INTO entry VALUES (${name})`.execute(trx),
        close: () => db.destroy(),
      };
    },
  };

  it.each(['TypeORM', 'Kysely'] as const)('is found through nestjs-cls: %s', async (library) => {
    const { adapter, bridge, insert, close } = await clsLibraries[library]();
    const app = await startNest({
      imports: [
        ClsModule.forRoot({ global: true, plugins: [new ClsPluginTransactional({ adapter })] }),
        SqlModule.forRoot({ driver: pgDriver({ url: postgres.url }), bridge }),
      ],
      providers: [Orders],
    });
    const orders = app.get(Orders);
    await orders.place('a', insert);
    const failure = new Error('business');
    await expect(orders.place('b', insert, failure)).rejects.toBe(failure);
    expect(await names()).toEqual(['a', 'a by the library']);
    expect(app.get(Sql).current()).toBeUndefined();
    await app.close();
    await close();
  });

  it('is found by the context of MikroORM, and none outside of one', async () => {
    const orm = await MikroORM.init({
      clientUrl: postgres.url,
      entities: [],
      discovery: { warnWhenNoEntities: false },
      allowGlobalContext: true,
    });
    @Global()
    @Module({ providers: [{ provide: EntityManager, useValue: orm.em }], exports: [EntityManager] })
    class OrmModule {}
    const app = await startNest({
      imports: [
        OrmModule,
        SqlModule.forRoot({
          driver: pgDriver({ url: postgres.url }),
          bridge: mikroOrmTransactionBridge(EntityManager),
        }),
      ],
    });
    const sql = app.get(Sql);
    const place = (name: string, failure?: Error) =>
      orm.em.transactional(async () => {
        const tx = sql.requireCurrent('test');
        expect(sql.current()).toBe(tx);
        await sql.transaction((joined) => joined.execute('INSERT INTO entry VALUES ($1)', [name]));
        if (failure) throw failure;
      });
    expect(sql.current()).toBeUndefined();
    await Promise.all([place('a'), expect(place('b', new Error('no'))).rejects.toThrow('no'), place('c')]);
    expect(await names()).toEqual(['a', 'c']);
    expect(sql.current()).toBeUndefined();
    await app.close();
    await orm.close();
  });

  it('of TypeORM is another one when its query runner begins the next', async () => {
    const source = await new DataSource({ type: 'postgres', url: postgres.url }).initialize();
    const runner = source.createQueryRunner();
    await runner.startTransaction();
    const first = typeormTransaction(runner);
    expect(typeormTransaction(runner.manager)).toBe(first);
    await first.execute("INSERT INTO entry VALUES ('first')");
    await runner.manager.transaction(async (nested) => expect(typeormTransaction(nested)).toBe(first));
    await first.execute("INSERT INTO entry VALUES ('after the nested one')");
    await runner.commitTransaction();
    expect(() => typeormTransaction(runner)).toThrow(TransactionMisuseError);

    await runner.startTransaction();
    const second = typeormTransaction(runner);
    expect(second).not.toBe(first);
    await expect(first.execute("INSERT INTO entry VALUES ('stray')")).rejects.toBeInstanceOf(TransactionEndedError);
    await second.execute("INSERT INTO entry VALUES ('second')");
    await runner.rollbackTransaction();
    expect(await names()).toEqual(['after the nested one', 'first']);
    await runner.release();
    await source.destroy();
  });
});

describe('a transaction of a database that is not supported', () => {
  const executor = <Adapter>(adapter: Adapter) => ({
    adapter,
    provideConnection: () => Promise.reject(new Error('not asked')),
  });

  it.each([
    [
      'TypeORM on sqlite',
      () =>
        typeormTransaction({
          isTransactionActive: true,
          isReleased: false,
          connect: async () => ({}),
          dataSource: { options: { type: 'sqlite' } },
        }),
    ],
    [
      'Knex on sqlite',
      () => knexTransaction({ isTransaction: true, isCompleted: () => false, client: { driverName: 'sqlite3' } }),
    ],
    [
      'Kysely on sqlite',
      () =>
        kyselyTransaction({
          isTransaction: true,
          getExecutor: () => executor({ supportsReturning: true, supportsTransactionalDdl: false }),
        }),
    ],
    [
      'Kysely on SQL Server',
      () =>
        kyselyTransaction({
          isTransaction: true,
          getExecutor: () =>
            executor({ supportsReturning: false, supportsTransactionalDdl: true, supportsOutput: true }),
        }),
    ],
    [
      'Drizzle over postgres.js',
      () => drizzleTransaction({ nestedIndex: 0, session: { client: () => undefined } } as never),
    ],
    ['Drizzle over a pool', () => drizzleTransaction({ nestedIndex: 0, session: { client: new pg.Pool() } } as never)],
    [
      'Prisma on mysql',
      () =>
        prismaTransaction({
          _activeProvider: 'mysql',
          $queryRawUnsafe: async () => [],
          $executeRawUnsafe: async () => 0,
        } as never),
    ],
    ['nothing at all', () => knexTransaction(undefined as never)],
  ])('is refused with what to pass instead: %s', (_, ask) => {
    expect(ask).toThrow(TransactionMisuseError);
    expect(ask).toThrow(/Pass /);
  });
});

describe('a library that does not say when its transaction ends', () => {
  const begin = (fail?: Error) => {
    const client = {
      query: async (statement: string | { text: string }) => {
        if (fail && statement === 'fail') throw fail;
        return { command: 'SELECT', rowCount: 1, rows: [{ one: 1 }] };
      },
    };
    return { client, tx: drizzleTransaction({ nestedIndex: 0, session: { client } } as never) };
  };

  it.each([
    'commit',
    'COMMIT;',
    ' rollback',
    'ROLLBACK AND CHAIN',
    'END',
    'abort',
    'begin',
    'START TRANSACTION READ ONLY',
    "/* app='mall' */ commit",
    '-- app\nrollback',
    "PREPARE TRANSACTION 'a'",
  ])('is known to have ended it by what it sends: %s', async (text) => {
    for (const statement of [text, { text }]) {
      const { client, tx } = begin();
      await tx.query('SELECT 1');
      await client.query(statement);
      await expect(tx.query('SELECT 1')).rejects.toBeInstanceOf(TransactionEndedError);
    }
  });

  it.each([
    'ROLLBACK TO SAVEPOINT a',
    'rollback work to a',
    'RELEASE SAVEPOINT a',
    'SAVEPOINT begin',
    "SELECT 'commit'",
    'BEGIN NOT ATOMIC SELECT 1; END',
    'INSERT INTO commit VALUES (1)',
    'ending',
  ])('is known not to have ended it: %s', async (text) => {
    const { client, tx } = begin();
    await tx.query('SELECT 1');
    await client.query(text);
    expect(await tx.query('SELECT 1')).toEqual([{ one: 1 }]);
  });

  it('has the errors of its client passed on by identity', async () => {
    const failure = new Error('refused');
    const { tx } = begin(failure);
    await expect(tx.query('fail')).rejects.toBe(failure);
  });
});
