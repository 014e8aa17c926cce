import { setTimeout as pause } from 'node:timers/promises';
import { OnMessage, OutboxService } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { Client, Pool } from 'pg';
import type { Contestant, Slice } from '../harness/contestant.js';
import { EFFECT_TABLES, INSERT_EFFECT, INSERT_ORDER, takeByHand } from './effects.js';
import { ourApplication, type Servers } from './our-application.js';
import { onOwnClient } from './raw-consumer.js';
import { messageId, type OrderPlaced, orderPlaced } from './workload.js';

const EVERY_MS = 20;
const PATIENCE_MS = 20_000;
const TOPIC = 'bench.latency';
const CHANNEL = 'bench_latency';
const DELETE_ROW = 'DELETE FROM raw_latency WHERE id = $1 RETURNING payload';

/** When the effects of messages were committed, by the local clock. */
export class Arrivals {
  private readonly waiting = new Map<number, (atMs: number) => void>();

  expect(orderId: number): Promise<number> {
    return new Promise((resolve) => this.waiting.set(orderId, resolve));
  }

  arrived(orderId: number): void {
    this.waiting.get(orderId)?.(performance.now());
    this.waiting.delete(orderId);
  }
}

/** Publishes with a business row in one transaction, and tells the arrivals when the effect is committed. */
export interface Path {
  publish(orderId: number): Promise<void>;
  close(): Promise<void>;
}

/** 50 messages a second, at their times however long each takes; the latency is from the commit to that of the effect. */
export function latency(name: string, databaseUrl: string, open: (arrivals: Arrivals) => Promise<Path>): Contestant {
  return {
    name,
    open: async () => {
      const database = new Client(databaseUrl);
      await database.connect();
      await database.query(EFFECT_TABLES);
      await database.end();
      const arrivals = new Arrivals();
      const path = await open(arrivals);
      let next = 0;
      const one = async (orderId: number): Promise<number> => {
        const arrival = arrivals.expect(orderId);
        await path.publish(orderId);
        const committedAt = performance.now();
        return Math.max((await within(arrival)) - committedAt, 0);
      };
      const run = async (sliceMs: number): Promise<Slice> => {
        const startedAt = performance.now();
        const pending: Promise<number>[] = [];
        for (let n = 0; n * EVERY_MS < sliceMs; n += 1) {
          await pause(Math.max(startedAt + n * EVERY_MS - performance.now(), 0));
          pending.push(one(next++));
        }
        const latenciesMs = await Promise.all(pending);
        return { operations: latenciesMs.length, elapsedMs: performance.now() - startedAt, latenciesMs };
      };
      return { run, close: () => path.close() };
    },
  };
}

async function within(arrival: Promise<number>): Promise<number> {
  const late = pause(PATIENCE_MS, undefined, { ref: false });
  const atMs = await Promise.race([arrival, late]);
  if (atMs === undefined) throw new Error(`a message had no effect within ${PATIENCE_MS} ms`);
  return atMs;
}

@Injectable()
class Effects {
  static arrivals: Arrivals | undefined;

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage(TOPIC, { consumer: 'latency' })
  async take({ orderId, sku }: OrderPlaced): Promise<void> {
    const tx = this.sql.requireCurrent('bench');
    await tx.execute(INSERT_EFFECT, [orderId, sku]);
    tx.afterCommit?.(() => Effects.arrivals?.arrived(orderId));
  }
}

/** As it comes: until-ack, relay and consumer in the process that publishes, all with their defaults. */
export function ourLatency(servers: Servers): Contestant {
  return latency('ours', servers.databaseUrl, async (arrivals) => {
    Effects.arrivals = arrivals;
    const app = await ourApplication({ ...servers }, { origin: 'latency' }, [Effects]);
    const sql = app.get(Sql);
    const outbox = app.get(OutboxService);
    return {
      publish: (orderId) =>
        sql.transaction(async (tx) => {
          const order = orderPlaced(orderId);
          await tx.execute(INSERT_ORDER, [order.orderId, order.sku, order.qty]);
          await outbox.publish(TOPIC, order);
        }),
      close: () => app.close(),
    };
  });
}

/** A queue table with LISTEN and NOTIFY by hand: the consumer takes the row, its inbox and its effect in one transaction. */
export function rawLatency({ databaseUrl }: Servers): Contestant {
  return latency('raw', databaseUrl, async (arrivals) => {
    const pool = new Pool({ connectionString: databaseUrl, max: 8 });
    await pool.query('CREATE TABLE raw_latency (id uuid PRIMARY KEY, payload text NOT NULL)');
    const listener = new Client(databaseUrl);
    await listener.connect();
    const take = (id: string): Promise<void> =>
      onOwnClient(pool, async (client) => {
        let order: OrderPlaced | undefined;
        await takeByHand(client, async () => {
          const { rows } = await client.query<{ payload: string }>(DELETE_ROW, [id]);
          order = JSON.parse(rows[0]?.payload ?? 'null') as OrderPlaced;
          return { id, order };
        });
        if (order) arrivals.arrived(order.orderId);
      });
    listener.on(
      'notification',
      ({ payload = '' }) => void take(payload).catch((error: unknown) => console.error(error)),
    );
    await listener.query(`LISTEN ${CHANNEL}`);
    return {
      publish: (orderId) =>
        onOwnClient(pool, async (client) => {
          const order = orderPlaced(orderId);
          const id = messageId();
          await client.query('BEGIN');
          await client.query(INSERT_ORDER, [order.orderId, order.sku, order.qty]);
          await client.query('INSERT INTO raw_latency (id, payload) VALUES ($1, $2)', [id, JSON.stringify(order)]);
          await client.query('SELECT pg_notify($1, $2)', [CHANNEL, id]);
          await client.query('COMMIT');
        }),
      close: async () => {
        await listener.end();
        await pool.end();
      },
    };
  });
}
