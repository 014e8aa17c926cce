import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MariaDbPasswordRequiredError, runMariaDbStatement } from '../protocol/mariadb-wire.js';
import { PasswordRequiredError, runStatement } from '../protocol/postgres-wire.js';

interface PgModule {
  readonly default: {
    readonly Client: new (
      url: string,
    ) => {
      connect(): Promise<unknown>;
      query(sql: string): Promise<unknown>;
      end(): Promise<void>;
    };
  };
}

interface Mysql2Module {
  readonly default: {
    createConnection(url: string): Promise<{ query(sql: string): Promise<unknown>; end(): Promise<void> }>;
  };
}

/** Runs a statement; a server that asks for a password (a `DATABASE_URL`) is reached through the project's own `pg`. */
export async function executeSql(url: string, statement: string): Promise<void> {
  try {
    await runStatement(url, statement);
  } catch (error) {
    if (!(error instanceof PasswordRequiredError)) throw error;
    await executeByPg(url, statement);
  }
}

/** Runs a statement; a server that asks for a password (a `MARIADB_URL`) is reached through the project's own `mysql2`. */
export async function executeMariaDb(url: string, statement: string): Promise<void> {
  try {
    await runMariaDbStatement(url, statement);
  } catch (error) {
    if (!(error instanceof MariaDbPasswordRequiredError)) throw error;
    await executeByMysql2(url, statement);
  }
}

async function executeByPg(url: string, statement: string): Promise<void> {
  const pg = await importOfProject<PgModule>('pg');
  const client = new pg.default.Client(url);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

async function executeByMysql2(url: string, statement: string): Promise<void> {
  const mysql = await importOfProject<Mysql2Module>('mysql2/promise');
  const connection = await mysql.default.createConnection(url);
  try {
    await connection.query(statement);
  } finally {
    await connection.end();
  }
}

async function importOfProject<Module>(name: string): Promise<Module> {
  const path = createRequire(join(process.cwd(), 'package.json')).resolve(name);
  return (await import(pathToFileURL(path).href)) as Module;
}
