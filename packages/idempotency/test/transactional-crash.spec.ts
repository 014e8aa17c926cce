import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { type ChildHandle, spawnNode } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problem, send } from './support/http-app.js';

const script = new URL('./support/transactional-crash-app.mjs', import.meta.url);

describe('a process that is killed in a transaction with its key', () => {
  const postgres = usePostgres();
  let direct: pg.Client;
  let survivor: { readonly child: ChildHandle; readonly url: string };

  beforeAll(async () => {
    direct = new pg.Client(postgres.url);
    await direct.connect();
    await direct.query('CREATE TABLE booking (name text)');
    survivor = await start();
  });
  afterAll(async () => {
    await survivor.child.sigkill();
    await direct.end();
  });

  async function start(killAt?: string): Promise<{ readonly child: ChildHandle; readonly url: string }> {
    const env = { DATABASE_URL: postgres.url };
    const child = spawnNode(script, { env, ...(killAt === undefined ? {} : { killAt }) });
    const { url } = (await child.waitForMessage(() => true)) as { readonly url: string };
    return { child, url: `${url}/bookings` };
  }

  async function crashDuring(killAt: string, key: string, name: string): Promise<void> {
    const { child, url } = await start(killAt);
    await expect(send(`${url}/${name}`, { key })).rejects.toThrow();
    expect((await child.exited).signal).toBe('SIGKILL');
  }

  const bookings = async (name: string) => (await direct.query('SELECT FROM booking WHERE name = $1', [name])).rowCount;

  it.each(['idempotency.claimed', 'handler', 'idempotency.executed', 'sql.commit.before'])(
    'at %s leaves nothing: the retry waits for nothing and executes',
    async (killAt) => {
      const [key, name] = [randomUUID(), randomUUID()];
      await crashDuring(killAt, key, name);
      expect(await bookings(name)).toBe(0);
      const retry = await send(`${survivor.url}/${name}`, { key });
      expect([retry.status, retry.headers.get('idempotent-replayed')]).toEqual([201, null]);
      expect(problem(retry)).toEqual({ pid: survivor.child.pid });
      expect(await bookings(name)).toBe(1);
    },
  );

  it.each(['sql.commit.after', 'idempotency.settled'])(
    'at %s has committed effect and answer: the retry is a replay',
    async (killAt) => {
      const [key, name] = [randomUUID(), randomUUID()];
      await crashDuring(killAt, key, name);
      const retry = await send(`${survivor.url}/${name}`, { key });
      expect([retry.status, retry.headers.get('idempotent-replayed')]).toEqual([201, 'true']);
      expect(problem(retry).pid).not.toBe(survivor.child.pid);
      expect(await bookings(name)).toBe(1);
    },
  );
});
