import 'reflect-metadata';
import { eventually, spawnNode } from '@lockstep/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DirectClient, TEST_SERVERS } from './support/test-servers.js';

describe.each(TEST_SERVERS)('a process that is killed, on $name,', (server) => {
  const database = server.use();
  const entry = new URL('./support/commit-process.mjs', import.meta.url);
  let client: DirectClient;

  beforeAll(async () => {
    client = await server.connect(database.url);
    await client.query('CREATE TABLE entry (name varchar(50) PRIMARY KEY)');
  });
  afterAll(() => client.end());

  const rows = async (name: string) => (await client.query(`SELECT 1 FROM entry WHERE name = '${name}'`)).length;

  it('before COMMIT is sent leaves nothing behind, not even a lock', async () => {
    const child = spawnNode(entry, { args: [database.url, 'before'], killAt: 'sql.commit.before' });
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
    expect(await rows('before')).toBe(0);
    await eventually(() => client.query(server.insertSoon('before')));
  });

  it('after the commit has everything in the database, and has called no hook', async () => {
    const child = spawnNode(entry, { args: [database.url, 'after'], killAt: 'sql.commit.after' });
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
    expect(await rows('after')).toBe(1);
    expect(child.messages).toEqual([]);
  });
});
