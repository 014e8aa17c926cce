import type { SqlDialect } from '@lockstep/sql';
import { eventually, startMariaDb, startPostgres, startStatementCounter } from '@lockstep/testing';
import { createConnection, type RowDataPacket } from 'mysql2/promise';

/** A server that nobody else uses, and what its clients made it do. */
export interface CountedServer {
  readonly url: string;
  /** How many statements the work sent, once nothing runs in the background. */
  statements(work: () => Promise<unknown>): Promise<number>;
  stop(): Promise<void>;
}

async function countedPostgres(): Promise<CountedServer> {
  const server = await startPostgres();
  const counter = await startStatementCounter(server.url);
  return {
    url: counter.url,
    statements: async (work) => {
      await eventually(() => assertNone(counter.take()), { intervalMs: 100 });
      await work();
      return counter.take();
    },
    stop: async () => {
      await counter.stop();
      await server.stop();
    },
  };
}

async function countedMariaDb(): Promise<CountedServer> {
  const server = await startMariaDb();
  const url = await server.createDatabase();
  const client = await createConnection(url);
  let last = 0;
  const take = async (): Promise<number> => {
    const [rows] = await client.query<RowDataPacket[]>("SHOW GLOBAL STATUS LIKE 'Questions'");
    const before = last;
    last = Number(rows[0]?.Value);
    // Without the question itself.
    return last - before - 1;
  };
  return {
    url,
    statements: async (work) => {
      await eventually(async () => assertNone(await take()), { intervalMs: 100 });
      await work();
      return take();
    },
    stop: async () => {
      await client.end();
      await server.stop();
    },
  };
}

function assertNone(count: number): void {
  if (count !== 0) throw new Error(`${count} statements came meanwhile`);
}

export interface CountableServer {
  readonly name: SqlDialect;
  start(): Promise<CountedServer>;
  /** Shows something else when a row was written, or where the server lets it be seen, locked. */
  readonly traces: string;
}

export const COUNTED_SERVERS: readonly CountableServer[] = [
  {
    name: 'postgres',
    start: countedPostgres,
    traces: 'SELECT id, ctid::text, xmin::text, xmax::text FROM lockstep_idempotency ORDER BY id',
  },
  {
    name: 'mariadb',
    start: countedMariaDb,
    traces: `SELECT variable_name, variable_value FROM information_schema.global_status
      WHERE variable_name IN ('INNODB_ROWS_INSERTED', 'INNODB_ROWS_UPDATED', 'INNODB_ROWS_DELETED')`,
  },
];
