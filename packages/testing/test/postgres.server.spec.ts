import { eventually, locatePostgres, type PostgresServer, startPostgres } from '@lockstep/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url, query_timeout: 500 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('startPostgres()', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres({ settings: { work_mem: '7MB' } });
  });
  afterAll(() => server.stop());

  it('runs with the given settings, without fsync unless asked for', async () => {
    expect(await query(server.url, 'SHOW work_mem')).toEqual([{ work_mem: '7MB' }]);
    expect(await query(server.url, 'SHOW fsync')).toEqual([{ fsync: 'off' }]);
  });

  it('createDatabase() gives an empty database each time', async () => {
    const [one, two] = [await server.createDatabase(), await server.createDatabase('with "quotes"')];
    expect(await query(two, 'SELECT current_database() AS name')).toEqual([{ name: 'with "quotes"' }]);
    expect(one).not.toBe(two);
    await expect(server.createDatabase('with "quotes"')).rejects.toThrow('42P04');
  });

  it('committed rows survive a kill in the middle of a connection', async () => {
    const url = await server.createDatabase();
    const open = new pg.Client(url);
    open.on('error', () => undefined);
    await open.connect();
    await open.query('CREATE TABLE t (id int); INSERT INTO t VALUES (1)');
    await server.kill();
    await server.restart();
    expect(await query(url, 'SELECT id FROM t')).toEqual([{ id: 1 }]);
  });

  it('a paused server answers nobody, not even on open connections', async () => {
    const open = new pg.Client({ connectionString: server.url, query_timeout: 200 });
    await open.connect();
    await open.query('SELECT 1');
    server.pause();
    await expect(open.query('SELECT 1')).rejects.toThrow('timeout');
    server.resume();
    await eventually(async () => expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]));
    await open.end();
  });

  it('an empty restart is a new server', async () => {
    const url = await server.createDatabase();
    await server.restart({ empty: true });
    await expect(query(url, 'SELECT 1')).rejects.toThrow('does not exist');
  });

  it('fsync is on when asked for', async () => {
    const durable = await startPostgres({ fsync: true });
    expect(await query(durable.url, 'SHOW fsync')).toEqual([{ fsync: 'on' }]);
    await durable.stop();
  });
});

describe('locatePostgres()', () => {
  afterEach(() => {
    delete process.env.LOCKSTEP_POSTGRES;
  });

  it.each(['path', 'npm'])('a server from %s starts and answers', async (source) => {
    process.env.LOCKSTEP_POSTGRES = source;
    const located = await locatePostgres().catch((error: Error) => error);
    if (located instanceof Error) {
      expect(located.message).toContain('No postgres server can be had');
      return;
    }
    const server = await startPostgres();
    expect(server.located.source).toBe(source);
    expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await server.stop();
  });
});
