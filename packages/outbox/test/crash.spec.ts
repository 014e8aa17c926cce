import { describeMessageTransportContract } from '@lockstep/outbox/contract';
import { type ChildHandle, eventually, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TableTransport } from './support/table-transport.mjs';

const MALL = new URL('./support/mall-process.mjs', import.meta.url);
const PATIENCE = { timeoutMs: 12_000 };

describe('Crashes', () => {
  const postgres = usePostgres();
  const children: ChildHandle[] = [];
  let db: pg.Client;

  beforeAll(async () => {
    db = new pg.Client(postgres.url);
    await db.connect();
  });
  afterAll(() => db.end());
  beforeEach(async () => {
    await db.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    await db.query('CREATE TABLE orders (id serial PRIMARY KEY); CREATE TABLE points (order_id int NOT NULL)');
  });
  afterEach(async () => {
    await Promise.all(children.splice(0).map((child) => child.sigkill()));
  });

  const mall = (env: Record<string, string>, options: SpawnNodeOptions = {}): ChildHandle => {
    const child = spawnNode(MALL, { ...options, env: { DATABASE_URL: postgres.url, ...env } });
    children.push(child);
    return child;
  };
  const column = async (text: string): Promise<number[]> => {
    const { rows } = await db.query<{ id: number }>(text);
    return rows.map(({ id }) => Number(id));
  };
  const orders = () => column('SELECT id FROM orders ORDER BY id');
  const points = () => column('SELECT order_id AS id FROM points ORDER BY order_id');
  const waiting = () =>
    column('SELECT (SELECT count(*) FROM lockstep_outbox) + (SELECT count(*) FROM lockstep_outbox_inflight) AS id');
  /** Every committed order has exactly one entry, and nothing else has any. */
  const untilBalanced = () =>
    eventually(async () => {
      expect(await points()).toEqual(await orders());
      expect(await waiting()).toEqual([0]);
    }, PATIENCE);

  it.each([
    // The memory of the one process is the transport here: the kill loses all that it held.
    ['sql.commit.before', 'memory'],
    ['sql.commit.after', 'memory'],
    ['outbox.appended', 'memory'],
    ['outbox.claimed', 'memory'],
    ['outbox.published', 'memory'],
    ['outbox.consumer.handled', 'memory'],
    ['outbox.consumer.committed', 'memory'],
    ['outbox.acked', 'memory'],
    ['outbox.published', 'table'],
    ['outbox.consumer.handled', 'table'],
    ['outbox.consumer.committed', 'table'],
  ])('loses and doubles nothing when it is killed at %s (transport: %s)', async (name, TRANSPORT) => {
    const hit = name.startsWith('sql.') ? 12 : 2;
    const victim = mall({ ORDERS: '16', TRANSPORT }, { killAt: { name, hit } });
    expect(await victim.exited).toMatchObject({ signal: 'SIGKILL' });
    const heir = mall({ TRANSPORT });
    await untilBalanced();
    expect([...victim.unhandledRejections, ...heir.unhandledRejections]).toEqual([]);
  });

  it('loses nothing that is on-accept while the transport keeps it', async () => {
    for (const name of ['outbox.claimed', 'outbox.published', 'outbox.settled']) {
      const env = { ORDERS: '8', TRANSPORT: 'table', DURABILITY: 'on-accept' };
      await mall(env, { killAt: name }).exited;
    }
    mall({ TRANSPORT: 'table', DURABILITY: 'on-accept' });
    await untilBalanced();
    expect((await orders()).length).toBeGreaterThan(0);
  }, 60_000);

  it('balances with two relays, two consumers and a publisher beside each other', async () => {
    const env = { TRANSPORT: 'table' };
    for (const ROLES of ['relay', 'relay', 'consumer', 'consumer']) mall({ ...env, ROLES });
    const web = mall({ ...env, ROLES: 'web', ORDERS: '60' });
    await web.waitForLine(/placed/);
    await untilBalanced();
    expect(await orders()).toHaveLength(45);
  }, 60_000);

  it('does not publish from a relay that was paused past its lease, and delivers what it had claimed', async () => {
    const env = { TRANSPORT: 'table' };
    // Whoever stands still while it starts may hold the lock of the migrations.
    const paused = mall({ ...env, ROLES: 'relay' }, { pauseAt: 'outbox.claimed' });
    await paused.waitForLine(/placed/);
    await mall({ ...env, ROLES: 'web', ORDERS: '4' }).waitForLine(/placed/);
    await paused.reached('outbox.claimed');
    const held = 'SELECT count(*) AS id FROM lockstep_lease WHERE lease_until > clock_timestamp()';
    await eventually(async () => expect(await column(held)).toEqual([0]));
    mall({ ...env, ROLES: 'relay,consumer' });
    await untilBalanced();
    paused.sigcont();
    await paused.waitForLine(/incident OUTBOX_LEASE_LOST_BEFORE_PUBLISH/);
    await untilBalanced();
  });

  it('gives up a message that kills the process, and handles its neighbours', async () => {
    const env = { TRANSPORT: 'table', POISON: '2' };
    await mall({ ...env, ROLES: 'web', ORDERS: '3' }).waitForLine(/placed/);
    mall({ ...env, ROLES: 'relay' });
    // Restarted as an orchestrator would, until it lives.
    for (let deaths = 0; deaths < 3; deaths += 1) {
      expect(await mall({ ...env, ROLES: 'consumer' }).exited).toMatchObject({ signal: 'SIGKILL' });
    }
    mall({ ...env, ROLES: 'consumer' });
    await eventually(async () => expect(await waiting()).toEqual([0]), PATIENCE);
    expect(await points()).toEqual([1, 3]);
    const dead = await column("SELECT (payload::json->>'order')::int AS id FROM lockstep_outbox_dead");
    expect(dead).toEqual([2]);
  }, 60_000);
});

describe('The broker of these tests', () => {
  const postgres = usePostgres();
  describeMessageTransportContract({
    name: 'table',
    open: async () => {
      const [producer, consumer] = [new TableTransport(postgres.url), new TableTransport(postgres.url)];
      return {
        producer,
        consumer,
        dispose: async () => void (await Promise.all([producer.close(), consumer.close()])),
      };
    },
  });
});
