import type { LockClient } from '@lockstep/lock/postgres';
import type { PgResult } from '@lockstep/sql/postgres';
import pg from 'pg';

export interface Statement {
  readonly name?: string;
  readonly text: string;
  readonly values: unknown[];
}

export type Send = (statement: Statement) => Promise<PgResult>;

/** Clients of `pg` whose statements pass through `way`, which sends them, or others in their place. */
export function clientsBy(url: string, way: (statement: Statement, send: Send) => Promise<PgResult>): () => LockClient {
  return () => {
    const client = new pg.Client({ connectionString: url, fallback_application_name: 'lockstep-lock' });
    const query = Reflect.get(client, 'query');
    const send: Send = (statement) => Reflect.apply(query, client, [statement]);
    Reflect.set(client, 'query', (statement: Statement) => way(statement, send));
    return client as unknown as LockClient;
  };
}

/** What the server answers with an error. */
export const REFUSED: Statement = { text: 'SELECT 1 / 0', values: [] };
