import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { CommitOutcomeUnknownError } from '@lockstep/sql';
import { pgTransaction } from '@lockstep/sql/postgres';
import {
  CHECKPOINT_CHANNEL,
  eventually,
  type PostgresServer,
  type RedisServer,
  startFaultProxy,
  startPostgres,
  startRedis,
} from '@lockstep/testing';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openDesk } from './messaging/desk.js';
import { KEPT } from './messaging/errand.js';
import { readUnderWay } from './messaging/read-books.js';
import { Stage } from './messaging/stage.js';

let database: PostgresServer;
let broker: RedisServer;
let databaseUrl: string;
let stage: Stage;
const clients: Client[] = [];

beforeAll(async () => {
  [database, broker] = await Promise.all([
    startPostgres(),
    startRedis({ appendonly: 'everysec', args: ['--maxmemory-policy', 'noeviction'] }),
  ]);
});
afterAll(() => Promise.all([database?.stop(), broker?.stop()]));
beforeEach(async () => {
  databaseUrl = await database.createDatabase();
  stage = await Stage.open({ databaseUrl, brokerUrl: broker.url });
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()));
  await stage?.close();
});

async function connect(url = databaseUrl): Promise<Client> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  clients.push(client);
  return client;
}

describe('a Redis that fails', { timeout: 60_000 }, () => {
  it('and comes back empty delays what awaits its acknowledgement and loses none of it; producers notice nothing', async () => {
    await stage.shop(['relay']);
    await stage.send(30);
    await eventually(async () => expect(await readUnderWay(stage.desk.sql)).toEqual({ pending: 0, inFlight: 60 }));
    await broker.kill();
    const startedAt = performance.now();
    await stage.send(30);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await broker.restart({ empty: true });
    await stage.shop(['consumer']);
    await stage.balanced();
  });

  it('and has no memory left refuses nothing for good: producers go on, and all is delivered when there is some', async () => {
    const admin = new Redis(broker.url);
    try {
      const { incidents } = await stage.shop(['relay', 'consumer']);
      await stage.send(5);
      await stage.balanced();
      await admin.config('SET', 'maxmemory', '1');
      await stage.send(20);
      const failed = (line: string) => /PASS_FAILED|ROUTE_BROKEN/.test(line);
      await eventually(() => expect(incidents.some(failed)).toBe(true), { timeoutMs: 10_000 });
      await admin.config('SET', 'maxmemory', '0');
      await stage.balanced();
    } finally {
      await admin.config('SET', 'maxmemory', '0');
      admin.disconnect();
    }
  });
});

describe('a database that fails', { timeout: 60_000 }, () => {
  it('and restarts under load leaves each committed message with its one effect', async () => {
    await stage.shop(['relay', 'consumer']);
    await stage.send(40);
    const restarted = database.restart();
    let refused = 0;
    for (let n = 0; n < 20; n += 1) await stage.send(2).catch(() => (refused += 1));
    await restarted;
    await eventually(() => stage.send(5), { timeoutMs: 15_000 });
    await stage.balanced();
    expect(refused).toBeGreaterThan(0);
  });

  it.each([
    ['arrives, and whose answer is lost', 'toClient', 1],
    ['never arrives', 'toServer', 0],
  ] as const)(
    'during a COMMIT that %s publishes what is committed and nothing else',
    async (_, direction, committed) => {
      await using proxy = await startFaultProxy({ target: databaseUrl });
      const desk = await openDesk('postgres', proxy.urlFor(databaseUrl), { withBooks: false });
      const spoil = (message: unknown): void => {
        if ((message as { name: string }).name === 'sql.commit.before') proxy.dropAfter(0, direction);
      };
      try {
        await eventually(() => desk.sql.query('SELECT 1'));
        const sending = desk.sql.transaction(async (tx) => {
          await stage.sendIn(tx, KEPT);
          subscribe(CHECKPOINT_CHANNEL, spoil);
        });
        await expect(sending).rejects.toThrow(CommitOutcomeUnknownError);
      } finally {
        unsubscribe(CHECKPOINT_CHANNEL, spoil);
        await proxy.heal();
        await desk.close();
      }
      await stage.shop(['relay', 'consumer']);
      await stage.send(3);
      await stage.balanced();
      expect(await stage.effects()).toHaveLength(2 * (3 + committed));
    },
    40_000,
  );
});

describe('a transaction that writes and stays open', { timeout: 60_000 }, () => {
  it.each(['the same database', 'another database'])(
    'in %s holds nothing up, and nothing is delivered twice',
    async (where) => {
      const url = where === 'another database' ? await database.createDatabase() : databaseUrl;
      const open = await connect(url);
      await open.query('CREATE TABLE unrelated (n int)');
      await open.query('BEGIN; INSERT INTO unrelated VALUES (1)');
      const { incidents } = await stage.shop(['relay', 'consumer']);
      for (let n = 0; n < 5; n += 1) await stage.send(4);
      await stage.balanced(10_000);
      await open.query('COMMIT');
      expect(incidents.filter((line) => line.includes('UNACKNOWLEDGED'))).toEqual([]);
    },
  );

  it('has its own message delivered after its commit, and not before, however many sweeps go by', async () => {
    await stage.shop(['relay', 'consumer']);
    const client = await connect();
    await client.query('BEGIN');
    const tag = await stage.sendIn(pgTransaction(client), KEPT);
    await stage.send(10);
    await eventually(async () => expect(await stage.effects()).toHaveLength(20), { timeoutMs: 10_000 });
    expect(await stage.effects()).not.toContain(tag);
    await client.query('COMMIT');
    await stage.balanced();
    expect(await stage.effects()).toContain(tag);
  });
});

describe('transactions that overtake each other', { timeout: 60_000 }, () => {
  it('lose nothing: one with an earlier place in the outbox commits after the relay has gone past it', async () => {
    await stage.shop(['relay', 'consumer']);
    const early = await connect();
    await early.query('BEGIN');
    const first = await stage.sendIn(pgTransaction(early), KEPT, {}, { key: 'k' });
    const [second] = await stage.send(1, { key: 'k' });
    await eventually(async () => expect(await stage.effects()).toEqual([second, second]), { timeoutMs: 10_000 });
    await early.query('COMMIT');
    await stage.balanced();
    expect(await stage.effects()).toContain(first);
  });

  it('keep the order of a key: one with an earlier transaction id writes the key later', async () => {
    const [early, late, unrelated] = [await connect(), await connect(), await connect()];
    await early.query('CREATE TABLE unrelated (n int)');
    await unrelated.query('BEGIN; INSERT INTO unrelated VALUES (0)');
    await early.query('BEGIN; INSERT INTO unrelated VALUES (1)');
    await late.query('BEGIN');
    const first = await stage.sendIn(pgTransaction(late), KEPT, {}, { key: 'k' });
    await late.query('COMMIT');
    const second = await stage.sendIn(pgTransaction(early), KEPT, {}, { key: 'k' });
    await early.query('COMMIT');
    await stage.shop(['relay', 'consumer']);
    await stage.balanced(10_000);
    await unrelated.query('ROLLBACK');
    const effects = await stage.effects();
    expect(effects.filter((tag, index) => effects.indexOf(tag) === index)).toEqual([first, second]);
  });
});
