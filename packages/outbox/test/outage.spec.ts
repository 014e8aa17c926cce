import 'reflect-metadata';
import { once } from 'node:events';
import { type MessageTransport, OnMessage, OutboxService } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { eventually, type FaultProxy, seed, seededRandom, startFaultProxy } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

@Injectable()
class Points {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('order.placed', { consumer: 'points', attempts: 3, backoff: { first: 10, atMost: 50 } })
  async grant({ order }: { order: string }): Promise<void> {
    await this.sql.requireCurrent('points').execute('INSERT INTO points (order_id) VALUES ($1)', [order]);
  }
}

describe('Outages of the database', () => {
  const postgres = usePostgres();
  let proxy: FaultProxy;
  let db: pg.Client;
  let application: OutboxApplication | undefined;

  beforeEach(async () => {
    proxy = await startFaultProxy({ target: postgres.url });
    db = new pg.Client(postgres.url);
    await db.connect();
    await db.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    await db.query('CREATE TABLE orders (id bigserial PRIMARY KEY); CREATE TABLE points (order_id bigint NOT NULL)');
  });
  afterEach(async () => {
    await proxy.heal();
    await application?.app.close();
    application = undefined;
    await db.end();
    await proxy.stop();
  });

  const start = async (): Promise<OutboxApplication> => {
    application = await startOutbox({ url: proxy.urlFor(postgres.url), providers: [Points] });
    return application;
  };
  const place = ({ app, sql }: OutboxApplication) =>
    sql.transaction(async (tx) => {
      const [row] = await tx.query<{ id: string }>('INSERT INTO orders DEFAULT VALUES RETURNING id::text');
      await app.get(OutboxService).publish('order.placed', { order: row?.id });
    });
  const column = async (text: string) => (await db.query<{ id: string }>(text)).rows.map(({ id }) => id);
  const untilBalanced = () =>
    eventually(
      async () => {
        const orders = await column('SELECT id FROM orders ORDER BY id');
        expect(await column('SELECT order_id AS id FROM points ORDER BY order_id')).toEqual(orders);
        expect(await column('SELECT count(*) AS id FROM lockstep_outbox_inflight')).toEqual(['0']);
        return orders.length;
      },
      { timeoutMs: 15_000 },
    );

  it('starts while the database is down, and works when it is back', async () => {
    proxy.refuse();
    const mall = await start();
    await expect(place(mall)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', kind: 'unavailable' });
    await eventually(() => expect(mall.incidents.map(({ code }) => code)).toContain('OUTBOX_START_DELAYED'));
    await proxy.heal();
    await eventually(() => place(mall));
    expect(await untilBalanced()).toBe(1);
  });

  it('loses and doubles nothing while connections break under publishers, relay and consumers', async () => {
    const from = seed();
    const random = seededRandom(from);
    const mall = await start();
    await place(mall);
    let refused = 0;
    for (let n = 0; n < 80; n += 1) {
      const placing = place(mall).catch(() => {
        refused += 1;
      });
      if (random.next() < 0.25) proxy.cut();
      await placing;
    }
    const orders = await untilBalanced();
    expect(orders, `seed ${from}`).toBeGreaterThanOrEqual(81 - refused);
    expect(refused, `seed ${from}`).toBeGreaterThan(0);
    expect(mall.incidents.map(({ code }) => code)).not.toContain('OUTBOX_MESSAGE_DEAD');
  });

  it('holds no transaction and no lock while the transport is slow', async () => {
    const slow = new AbortController();
    const answered = new AbortController();
    const transport: MessageTransport = {
      publish: async (_route, messages) => {
        slow.abort();
        await aborted(answered.signal);
        return messages.map(() => ({ outcome: 'accepted' }));
      },
      consume: async () => ({ close: async () => undefined }),
      close: async () => undefined,
    };
    application = await startOutbox({
      url: postgres.url,
      transport: { useFactory: () => transport },
      topics: { 'order.placed': { consumers: ['elsewhere'], durability: 'on-accept' } },
      redeliverAfter: '60s',
      redeliverAtMost: '60s',
    });
    await place(application);
    await aborted(slow.signal);
    const open = async () =>
      column(`SELECT pid AS id FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'`);
    // The other loops go on meanwhile, so what is seen once may be one of theirs; a transaction of the relay would stay.
    await eventually(async () => expect(await open()).toEqual([]), { timeoutMs: 1_000 });
    answered.abort();
    await eventually(async () => expect(await column('SELECT count(*) AS id FROM lockstep_outbox')).toEqual(['0']));
  });
});

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}
