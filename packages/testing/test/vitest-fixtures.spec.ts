import { useMariaDb, usePostgres, useRedis } from '@lockstep/testing/vitest';
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { afterAll, describe, expect, it } from 'vitest';

describe('fixtures', () => {
  const redis = useRedis();
  const postgres = usePostgres();
  const other = usePostgres();
  const mariadb = useMariaDb();
  const otherMariadb = useMariaDb();
  const client = new Redis(redis.url);
  afterAll(() => client.quit());

  it('useRedis() leads to a real server and gives a prefix of its own', async () => {
    await client.set(`${redis.prefix}:a`, '1', 'EX', 10);
    expect(await client.get(`${redis.prefix}:a`)).toBe('1');
    expect(useRedis().prefix).not.toBe(redis.prefix);
  });

  it('usePostgres() gives each caller an empty database', async () => {
    expect(other.url).not.toBe(postgres.url);
    const one = new pg.Client(postgres.url);
    await one.connect();
    await one.query('CREATE TABLE t (id int)');
    const { rows } = await one.query("SELECT count(*)::int AS tables FROM pg_tables WHERE schemaname = 'public'");
    expect(rows).toEqual([{ tables: 1 }]);
    await one.end();
  });

  it('useMariaDb() gives each caller an empty database on one server', async () => {
    expect(otherMariadb.url).not.toBe(mariadb.url);
    expect(new URL(otherMariadb.url).host).toBe(new URL(mariadb.url).host);
    const one = await mysql.createConnection(mariadb.url);
    await one.query('CREATE TABLE t (id int)');
    const [tables] = await one.query(
      'SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()',
    );
    expect(tables).toEqual([{ name: 't' }]);
    await one.end();
  });

  it('the servers listen on the loopback only', () => {
    expect(new URL(redis.url).hostname).toBe('127.0.0.1');
  });
});
