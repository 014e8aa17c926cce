import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
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

/** Runs a statement; a server that asks for a password (a `DATABASE_URL`) is reached through the project's own `pg`. */
export async function executeSql(url: string, statement: string): Promise<void> {
  try {
    await runStatement(url, statement);
  } catch (error) {
    if (!(error instanceof PasswordRequiredError)) throw error;
    await executeByPg(url, statement);
  }
}

async function executeByPg(url: string, statement: string): Promise<void> {
  const path = createRequire(join(process.cwd(), 'package.json')).resolve('pg');
  const pg = (await import(pathToFileURL(path).href)) as PgModule;
  const client = new pg.default.Client(url);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
