import 'reflect-metadata';
import type { SqlDialect, SqlTransaction } from '@lockstep/sql';
import { drizzleTransaction } from '@lockstep/sql/drizzle';
import { knexTransaction } from '@lockstep/sql/knex';
import { kyselyTransaction } from '@lockstep/sql/kysely';
import { mikroOrmTransaction } from '@lockstep/sql/mikro-orm';
import { prismaTransaction } from '@lockstep/sql/prisma';
import { typeormTransaction } from '@lockstep/sql/typeorm';
import { MikroORM } from '@mikro-orm/postgresql';
import { PrismaPg } from '@prisma/adapter-pg';
import { sql as drizzleSql } from 'drizzle-orm';
import { drizzle as drizzleMysql } from 'drizzle-orm/mysql2';
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres';
import knex from 'knex';
import { Kysely, sql as kyselySql, MysqlDialect, PostgresDialect } from 'kysely';
import mysqlCallback from 'mysql2';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { generatePrisma } from './prisma-client.js';

/** A transaction of a library. */
export interface OrmTransaction {
  /** Our handle on it. */
  handle(): SqlTransaction;
  /** Runs a statement as the library does. */
  run(text: string): PromiseLike<unknown>;
}

/** An application that uses a library, over one connection: whatever comes too late meets the next transaction. */
export interface OrmApplication {
  /** Commits when `work` resolves and rolls back when it rejects. */
  transaction<T>(work: (tx: OrmTransaction) => Promise<T>): Promise<T>;
  /** Asks for a handle on what is no open transaction. */
  readonly bare: readonly (() => SqlTransaction)[];
  close(): Promise<void>;
}

export interface OrmLibrary {
  readonly name: string;
  readonly server: SqlDialect;
  open(url: string): Promise<OrmApplication>;
}

function pgPool(url: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  pool.on('error', () => undefined);
  // A client on loan whose server goes away would end the process.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

async function openTypeOrm(type: 'postgres' | 'mariadb', url: string): Promise<OrmApplication> {
  const pool = type === 'postgres' ? { poolSize: 1 } : { connectorPackage: 'mysql2' as const, poolSize: 1 };
  const dataSource = await new DataSource({ type, url, ...pool } as never).initialize();
  return {
    transaction: (work) =>
      dataSource.transaction((em) => work({ handle: () => typeormTransaction(em), run: (text) => em.query(text) })),
    bare: [
      () => typeormTransaction(dataSource as never),
      () => typeormTransaction(dataSource.manager),
      () => typeormTransaction(dataSource.createQueryRunner()),
    ],
    close: () => dataSource.destroy(),
  };
}

async function openPrisma(url: string): Promise<OrmApplication> {
  const { PrismaClient, remove } = await generatePrisma();
  const prisma = new PrismaClient({ adapter: new PrismaPg(pgPool(url), { disposeExternalPool: true }) });
  return {
    transaction: (work) =>
      prisma.$transaction((tx) =>
        work({ handle: () => prismaTransaction(tx), run: (text) => tx.$executeRawUnsafe(text) }),
      ),
    bare: [() => prismaTransaction(prisma)],
    close: async () => {
      await prisma.$disconnect();
      await remove();
    },
  };
}

async function openDrizzlePg(url: string): Promise<OrmApplication> {
  const pool = pgPool(url);
  const db = drizzlePg(pool);
  return {
    transaction: (work) =>
      db.transaction((tx) =>
        work({ handle: () => drizzleTransaction(tx), run: (text) => tx.execute(drizzleSql.raw(text)) }),
      ),
    bare: [() => drizzleTransaction(db as never)],
    close: () => pool.end(),
  };
}

async function openDrizzleMysql(url: string): Promise<OrmApplication> {
  const pool = mysql.createPool({ uri: url, connectionLimit: 1 });
  const db = drizzleMysql(pool);
  return {
    transaction: (work) =>
      db.transaction((tx) =>
        work({ handle: () => drizzleTransaction(tx), run: (text) => tx.execute(drizzleSql.raw(text)) }),
      ),
    bare: [() => drizzleTransaction(db as never)],
    close: () => pool.end(),
  };
}

function kyselyApplication(db: Kysely<unknown>): OrmApplication {
  return {
    transaction: (work) =>
      db
        .transaction()
        .execute((trx) =>
          work({ handle: () => kyselyTransaction(trx), run: (text) => kyselySql.raw(text).execute(trx) }),
        ),
    bare: [() => kyselyTransaction(db)],
    close: () => db.destroy(),
  };
}

function controlledKysely(db: Kysely<unknown>): OrmApplication {
  return {
    ...kyselyApplication(db),
    transaction: async (work) => {
      const trx = await db.startTransaction().execute();
      try {
        const value = await work({
          handle: () => kyselyTransaction(trx),
          run: (text) => kyselySql.raw(text).execute(trx),
        });
        await trx.commit().execute();
        return value;
      } catch (error) {
        await trx.rollback().execute();
        throw error;
      }
    },
  };
}

const kyselyPg = (url: string) => new Kysely<unknown>({ dialect: new PostgresDialect({ pool: pgPool(url) }) });
const kyselyMysql = (url: string) => {
  const pool = mysqlCallback.createPool({
    uri: url,
    connectionLimit: 1,
    supportBigNumbers: true,
    bigNumberStrings: true,
  });
  return new Kysely<unknown>({ dialect: new MysqlDialect({ pool: pool as never }) });
};

async function openKnex(client: 'pg' | 'mysql2', url: string): Promise<OrmApplication> {
  const db = knex({ client, connection: url, pool: { min: 0, max: 1 } });
  return {
    transaction: (work) =>
      db.transaction((trx) => work({ handle: () => knexTransaction(trx), run: (text) => trx.raw(text) })),
    bare: [() => knexTransaction(db as never)],
    close: () => db.destroy(),
  };
}

async function openMikroOrm(url: string): Promise<OrmApplication> {
  const orm = await MikroORM.init({
    clientUrl: url,
    entities: [],
    discovery: { warnWhenNoEntities: false },
    pool: { min: 0, max: 1 },
  });
  return {
    transaction: (work) =>
      orm.em.fork().transactional((em) =>
        work({
          handle: () => mikroOrmTransaction(em),
          run: (text) => em.getConnection().execute(text, [], 'run', em.getTransactionContext()),
        }),
      ),
    bare: [() => mikroOrmTransaction(orm.em), () => mikroOrmTransaction(orm.em.fork())],
    close: () => orm.close(),
  };
}

/** Every library, on every server that both it and we support. */
export const ORM_LIBRARIES: readonly OrmLibrary[] = [
  { name: 'TypeORM', server: 'postgres', open: (url) => openTypeOrm('postgres', url) },
  { name: 'Prisma', server: 'postgres', open: openPrisma },
  { name: 'Drizzle', server: 'postgres', open: openDrizzlePg },
  { name: 'Kysely', server: 'postgres', open: async (url) => kyselyApplication(kyselyPg(url)) },
  { name: 'Kysely (controlled)', server: 'postgres', open: async (url) => controlledKysely(kyselyPg(url)) },
  { name: 'Knex', server: 'postgres', open: (url) => openKnex('pg', url) },
  { name: 'MikroORM', server: 'postgres', open: openMikroOrm },
  { name: 'TypeORM', server: 'mariadb', open: (url) => openTypeOrm('mariadb', url) },
  { name: 'Drizzle', server: 'mariadb', open: openDrizzleMysql },
  { name: 'Kysely', server: 'mariadb', open: async (url) => kyselyApplication(kyselyMysql(url)) },
  { name: 'Kysely (controlled)', server: 'mariadb', open: async (url) => controlledKysely(kyselyMysql(url)) },
  { name: 'Knex', server: 'mariadb', open: (url) => openKnex('mysql2', url) },
];
