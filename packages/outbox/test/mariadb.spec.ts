import 'reflect-metadata';
import { Incidents, LockstepModule } from '@lockstep/core';
import { type Message, memoryMessageTransport, OnMessage, OutboxModule, OutboxService } from '@lockstep/outbox';
import { mariadbOutboxStore } from '@lockstep/outbox/mariadb';
import { postgresRelaySignal } from '@lockstep/outbox/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { type ChildHandle, eventually, type SpawnNodeOptions, spawnNode } from '@lockstep/testing';
import { useMariaDb } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import mysql, { type RowDataPacket } from 'mysql2/promise';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const MALL = new URL('./support/mall-process.mjs', import.meta.url);
const PATIENCE = { timeoutMs: 20_000 };

@Injectable()
class Points {
  readonly seen: string[] = [];

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('order.placed', { consumer: 'points' })
  async grant({ order }: { order: number }, message: Message): Promise<void> {
    this.seen.push(message.id);
    await this.sql.requireCurrent('points').execute('INSERT INTO points (order_id) VALUES ($1)', [order]);
  }
}

describe('With MariaDB alone', () => {
  const mariadb = useMariaDb();
  const children: ChildHandle[] = [];
  let db: mysql.Connection;

  beforeAll(async () => {
    db = await mysql.createConnection(mariadb.url);
  });
  afterAll(() => db.end());
  beforeEach(async () => {
    const [tables] = await db.query<RowDataPacket[]>(
      "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type <> 'SEQUENCE'",
    );
    for (const { name } of tables) await db.query(`DROP TABLE ${name}`);
    await db.query('CREATE TABLE orders (id int PRIMARY KEY AUTO_INCREMENT)');
    await db.query('CREATE TABLE points (order_id int NOT NULL)');
  });
  afterEach(async () => {
    await Promise.all(children.splice(0).map((child) => child.sigkill()));
  });

  const mall = (env: Record<string, string>, options: SpawnNodeOptions = {}): ChildHandle => {
    const child = spawnNode(MALL, { ...options, env: { DATABASE_URL: mariadb.url, ...env } });
    children.push(child);
    return child;
  };
  const column = async (text: string): Promise<number[]> => {
    const [rows] = await db.query<RowDataPacket[]>(text);
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

  it('handles once what was committed, and nothing of what was rolled back', async () => {
    const app = await Test.createTestingModule({
      imports: [
        LockstepModule.forRoot({}),
        SqlModule.forRoot({ driver: mariadbDriver({ url: mariadb.url }) }),
        OutboxModule.forRoot({
          store: mariadbOutboxStore(),
          transport: memoryMessageTransport(),
          origin: 'mall',
          sweepEvery: 50,
          leaseTtl: 500,
        }),
      ],
      providers: [Points],
    }).compile();
    app.useLogger(false);
    const incidents: string[] = [];
    app.get(Incidents).subscribe(({ code }) => incidents.push(code));
    await app.init();
    const [sql, outbox] = [app.get(Sql), app.get(OutboxService)];
    const refused = sql.transaction(async () => {
      await outbox.publish('order.placed', { order: 1 });
      throw new Error('no');
    });
    await expect(refused).rejects.toThrow('no');
    await sql.transaction(() => outbox.publish('order.placed', { order: 2 }, { key: 'k', ordered: 'strict' }));
    await eventually(async () => {
      expect(await points()).toEqual([2]);
      expect(await waiting()).toEqual([0]);
    }, PATIENCE);
    expect(app.get(Points).seen).toHaveLength(1);
    expect(incidents).toEqual([]);
    await app.close();
  }, 30_000);

  it('refuses at boot to wake relays by what only Postgres has', async () => {
    const app = Test.createTestingModule({
      imports: [
        LockstepModule.forRoot({}),
        SqlModule.forRoot({ driver: mariadbDriver({ url: mariadb.url }) }),
        OutboxModule.forRoot({ store: mariadbOutboxStore(), origin: 'mall', wakeUp: postgresRelaySignal() }),
      ],
    }).compile();
    await expect(app).rejects.toThrow(/postgresRelaySignal needs Postgres.*mariadb/);
  });

  it.each([
    'sql.commit.after',
    'outbox.claimed',
    'outbox.consumer.handled',
    'outbox.consumer.committed',
    'outbox.acked',
  ])(
    'loses and doubles nothing when it is killed at %s',
    async (name) => {
      // The memory of the one process is the transport: the kill loses all that it held.
      const hit = name.startsWith('sql.') ? 12 : 2;
      const victim = mall({ ORDERS: '16' }, { killAt: { name, hit } });
      expect(await victim.exited).toMatchObject({ signal: 'SIGKILL' });
      const heir = mall({});
      await untilBalanced();
      expect([...victim.unhandledRejections, ...heir.unhandledRejections]).toEqual([]);
    },
    60_000,
  );

  it('balances with two relays and two consumers beside each other', async () => {
    for (const ORDERS of ['20', '20']) mall({ ORDERS });
    await Promise.all(children.map((child) => child.waitForLine(/placed/)));
    await untilBalanced();
    expect((await orders()).length).toBe(30);
  }, 60_000);
});
