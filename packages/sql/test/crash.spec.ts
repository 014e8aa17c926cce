import 'reflect-metadata';
import { eventually, spawnNode } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

describe('a process that is killed', () => {
  const postgres = usePostgres();
  const entry = new URL('./support/commit-process.mjs', import.meta.url);
  let client: pg.Client;

  beforeAll(async () => {
    client = new pg.Client(postgres.url);
    await client.connect();
    await client.query('CREATE TABLE entry (name text PRIMARY KEY)');
  });
  afterAll(() => client.end());

  const rows = async (name: string) => (await client.query('SELECT 1 FROM entry WHERE name = $1', [name])).rows.length;

  it('before COMMIT is sent leaves nothing behind, not even a lock', async () => {
    const child = spawnNode(entry, { args: [postgres.url, 'before'], killAt: 'sql.commit.before' });
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
    expect(await rows('before')).toBe(0);
    await eventually(() => client.query("SET lock_timeout = '1s'; INSERT INTO entry VALUES ('before')"));
  });

  it('after the commit has everything in the database, and has called no hook', async () => {
    const child = spawnNode(entry, { args: [postgres.url, 'after'], killAt: 'sql.commit.after' });
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
    expect(await rows('after')).toBe(1);
    expect(child.messages).toEqual([]);
  });
});
