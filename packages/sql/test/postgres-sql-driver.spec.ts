import 'reflect-metadata';
import { ConfigurationError, Incidents, StoreUnavailableError } from '@lockstep/core';
import { describeSqlDriverContract } from '@lockstep/sql/contract';
import { type PgPool, PostgresSqlDriver } from '@lockstep/sql/postgres';
import { freePort } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { describe, expect, it } from 'vitest';

const postgres = usePostgres();
const open = (url: string) => new PostgresSqlDriver(new pg.Pool({ connectionString: url }), true, new Incidents());

describeSqlDriverContract({
  name: 'postgres',
  open: async () => open(postgres.url),
  openUnreachable: async () => open(`postgres://postgres@127.0.0.1:${await freePort()}/none`),
  slowStatement: 'SELECT pg_sleep(1)',
  capabilities: { abortsOnFailedStatement: true },
});

describe('PostgresSqlDriver', () => {
  it('refuses a server older than 14 at the first connection, naming both versions, and gives the connection back', async () => {
    const released: unknown[] = [];
    const client = {
      query: async () => ({ command: 'SELECT', rowCount: 1, rows: [{ version: '130016' }] }),
      release: (error?: unknown) => released.push(error),
      on: () => undefined,
      removeListener: () => undefined,
    };
    const pool: PgPool = {
      connect: async () => client,
      end: async () => undefined,
      on: () => 0,
      removeListener: () => 0,
    };
    const driver = new PostgresSqlDriver(pool, false, new Incidents());
    const refused = driver.query('SELECT 1', [], 1_000);
    await expect(refused).rejects.toBeInstanceOf(ConfigurationError);
    await expect(refused).rejects.toThrow(/13\.16.*14/);
    expect(released).toEqual([undefined]);
  });

  it('sends nothing over a connection on which BEGIN was refused: it would be committed at once', async () => {
    const [sent, released]: [string[], unknown[]] = [[], []];
    const refusal = Object.assign(new Error('out of memory'), { severity: 'ERROR', code: '53200' });
    const client = {
      query: async (text: string) => {
        sent.push(text);
        if (text.startsWith('BEGIN')) throw refusal;
        return { command: 'SELECT', rowCount: 1, rows: [{ version: '140000' }] };
      },
      release: (error?: unknown) => released.push(error),
      on: () => undefined,
      removeListener: () => undefined,
    };
    const pool: PgPool = {
      connect: async () => client,
      end: async () => undefined,
      on: () => 0,
      removeListener: () => 0,
    };
    const driver = new PostgresSqlDriver(pool, false, new Incidents());
    const times = { commandTimeoutMs: 1_000, statementTimeoutMs: 1_000, commitTimeoutMs: 1_000 };
    // One that was not used a moment ago gets a BEGIN of its own.
    await driver.query('SELECT 1', [], 1_000);
    const session = await driver.begin({ isolation: undefined, withFirstStatement: true, ...times });
    const first = session.execute("SELECT '1'", []);
    const second = session.execute('SELECT 2', []);
    await expect(first).rejects.toBe(refusal);
    await expect(second).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
    await expect(session.commit()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
    expect(sent.slice(2)).toEqual(['BEGIN']);
    expect(released).toEqual([undefined, refusal]);
  });

  it.each<[string, string, readonly unknown[]]>([
    ['too few', 'SELECT $1::int, $2::int', [1]],
    ['too many', 'SELECT 1', [1]],
    ['bytes for a number as', 'SELECT $1::int', [Buffer.from('5')]],
  ])('passes on what the server says to %s values: it has answered, and goes on', async (_, text, params) => {
    const pool = new pg.Pool({ connectionString: postgres.url, max: 1 });
    const driver = new PostgresSqlDriver(pool, true, new Incidents());
    const [before] = await driver.query<{ pid: number }>('SELECT pg_backend_pid() AS pid', [], 1_000);
    await expect(driver.query(text, params, 1_000)).rejects.toMatchObject({ code: '08P01', severity: 'ERROR' });
    expect(await driver.query('SELECT pg_backend_pid() AS pid', [], 1_000)).toEqual([before]);
    await driver.close();
  });

  it('takes the same code of a pooler, which names no routine, for an outage', async () => {
    const refusal = Object.assign(new Error('server login has been failing'), { code: '08P01', severity: 'FATAL' });
    const pool: PgPool = {
      connect: () => Promise.reject(refusal),
      end: async () => undefined,
      on: () => 0,
      removeListener: () => 0,
    };
    const driver = new PostgresSqlDriver(pool, false, new Incidents());
    await expect(driver.query('SELECT 1', [], 1_000)).rejects.toBeInstanceOf(StoreUnavailableError);
  });

  it('survives a connection that breaks while the pool is handing it out', async () => {
    const pool = new pg.Pool({ connectionString: postgres.url, max: 1 });
    const driver = new PostgresSqlDriver(pool, false, new Incidents());
    // The server ends every session with an error of its own when it is restarted.
    const terminate = (client: pg.PoolClient) => client.emit('error', new Error('terminating connection'));
    pool.on('acquire', (client) => queueMicrotask(() => terminate(client)));
    expect(await driver.query('SELECT 1 AS one', [], 1_000)).toEqual([{ one: 1 }]);
    expect(await driver.query('SELECT 1 AS one', [], 1_000)).toEqual([{ one: 1 }]);
    await driver.close();
    await pool.end();
  });
});
