import { readFileSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, locateMariaDb, type MariaDbServer, ServerStartError, startMariaDb } from '@lockstep/testing';
import mysql from 'mysql2/promise';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isAlive } from './processes.js';

async function query(url: string, sql: string): Promise<unknown> {
  const connection = await mysql.createConnection({ uri: url, connectTimeout: 1000 });
  connection.on('error', () => undefined);
  try {
    const [rows] = await connection.query({ sql, timeout: 500 });
    return rows;
  } finally {
    connection.destroy();
  }
}

describe('startMariaDb()', () => {
  let server: MariaDbServer;
  beforeAll(async () => {
    server = await startMariaDb({ settings: { 'max-connections': '17' } });
  }, 180_000);
  afterAll(() => server.stop());

  it('runs with the given settings, and does not wait for the disk unless asked to', async () => {
    const sql = 'SELECT @@max_connections AS max, @@innodb_flush_log_at_trx_commit AS flush, @@log_bin AS log';
    expect(await query(server.url, sql)).toEqual([{ max: 17, flush: 2, log: 0 }]);
  });

  it('waits for the disk when asked to', async () => {
    const durable = await startMariaDb({ fsync: true });
    const [row] = (await query(
      durable.url,
      'SELECT @@innodb_flush_log_at_trx_commit AS flush, @@innodb_flush_method AS method',
    )) as { flush: number; method: string }[];
    expect(row?.flush).toBe(1);
    expect(row?.method).not.toBe('nosync');
    await durable.stop();
  });

  it('createDatabase() gives an empty database each time, and passes on why it cannot', async () => {
    const [one, two] = [await server.createDatabase(), await server.createDatabase('with `quotes`')];
    expect(await query(two, 'SELECT DATABASE() AS name')).toEqual([{ name: 'with `quotes`' }]);
    expect(await query(two, 'SHOW TABLES')).toEqual([]);
    expect(one).not.toBe(two);
    await expect(server.createDatabase('with `quotes`')).rejects.toThrow('error 1007');
  });

  it('committed rows survive a kill in the middle of a connection', async () => {
    const url = await server.createDatabase();
    const open = await mysql.createConnection(url);
    open.on('error', () => undefined);
    await open.query('CREATE TABLE t (id int)');
    await open.query('INSERT INTO t VALUES (1)');
    const { pid } = server;
    await server.kill();
    expect(isAlive(pid)).toBe(false);
    await server.restart();
    expect(await query(url, 'SELECT id FROM t')).toEqual([{ id: 1 }]);
  });

  it('a paused server answers nobody, not even on open connections', async () => {
    const open = await mysql.createConnection(server.url);
    open.on('error', () => undefined);
    await open.query('SELECT 1');
    server.pause();
    await expect(open.query({ sql: 'SELECT 1', timeout: 200 })).rejects.toMatchObject({
      code: 'PROTOCOL_SEQUENCE_TIMEOUT',
    });
    server.resume();
    await eventually(async () => expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]));
    open.destroy();
  });

  it('listens on the loopback only', async () => {
    // The second address of the loopback stands for every other one of the machine.
    expect(await reason('127.0.0.2', server.port)).toMatch(/ECONNREFUSED|EADDRNOTAVAIL|ETIMEDOUT/);
  });

  it('does not run as root, whoever starts it', async ({ skip }) => {
    if (process.platform !== 'linux') skip('tells by /proc');
    const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
    expect(/^Uid:\s+(\d+)/m.exec(status)?.[1]).not.toBe('0');
  });

  it('an empty restart is a new server', async () => {
    const url = await server.createDatabase();
    await server.restart({ empty: true });
    await expect(query(url, 'SELECT 1')).rejects.toMatchObject({ code: 'ER_BAD_DB_ERROR' });
  });

  it('keeps the data in a folder that was named', async () => {
    const dir = await mkdtemp(join(tmpdir(), `lockstep-spec-${'long-'.repeat(20)}`));
    const first = await startMariaDb({ dir });
    const url = await first.createDatabase('kept');
    await first.stop();
    const second = await startMariaDb({ dir, port: first.port });
    expect(await query(url, 'SELECT DATABASE() AS name')).toEqual([{ name: 'kept' }]);
    await second.stop();
    rmSync(dir, { recursive: true });
  });

  it('a start that fails quotes the log of the server', async () => {
    const attempt = startMariaDb({ settings: { 'no-such-setting': '1' } }).then(() => 'started');
    await expect(attempt).rejects.toThrow(ServerStartError);
    await expect(attempt).rejects.toThrow(/unknown (variable|option) '(--)?no-such-setting/);
  });

  it('a port that is taken is an error when the caller named it, and the stranger is not taken for ours', async () => {
    const attempt = startMariaDb({ port: server.port }).then(() => 'started');
    await expect(attempt).rejects.toThrow(/in use/);
    expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
});

describe('locateMariaDb()', () => {
  afterEach(() => {
    delete process.env.LOCKSTEP_MARIADB;
  });

  it.each(['path', 'apt'])('a server from %s starts and answers', { timeout: 180_000 }, async (source) => {
    process.env.LOCKSTEP_MARIADB = source;
    const located = await locateMariaDb().catch((error: Error) => error);
    if (located instanceof Error) {
      expect(located.message).toContain('No mariadb server can be had');
      return;
    }
    const server = await startMariaDb();
    expect(server.located.source).toBe(source);
    expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await server.stop();
  });
});

function reason(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 2000 }, () => resolve('connected'));
    socket.once('timeout', () => resolve('ETIMEDOUT'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}
