import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from 'pg';
import type { Contestant, Slice } from '../harness/contestant.js';
import { type OrderPlaced, withWalBytes } from './workload.js';

/** Where consumers leave what they did: one business row a message, and for all but ours the inbox. */
export const EFFECT_TABLES = `
CREATE TABLE IF NOT EXISTS raw_inbox (consumer text, message_id uuid, at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, message_id));
CREATE TABLE IF NOT EXISTS effect (order_id int NOT NULL, sku text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS bench_order (id int NOT NULL, sku text NOT NULL, qty int NOT NULL,
  at timestamptz NOT NULL DEFAULT now())`;

export const INSERT_EFFECT = 'INSERT INTO effect (order_id, sku) VALUES ($1, $2)';
export const INSERT_EFFECTS = 'INSERT INTO effect (order_id, sku) SELECT * FROM unnest($1::int[], $2::text[])';
export const INSERT_ORDER = 'INSERT INTO bench_order (id, sku, qty) VALUES ($1, $2, $3)';

export interface Received {
  readonly id: string;
  readonly order: OrderPlaced;
}

interface Queryable {
  query(text: string, values?: unknown[]): Promise<{ readonly rowCount: number | null }>;
}

/** The inbox and the business row of one message in one transaction, as one writes it by hand. */
export async function takeByHand(client: Queryable, message: Received | (() => Promise<Received>)): Promise<void> {
  await client.query('BEGIN');
  const { id, order } = typeof message === 'function' ? await message() : message;
  const { rowCount } = await client.query(
    'INSERT INTO raw_inbox (consumer, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING',
    ['bench', id],
  );
  if (rowCount === 1) await client.query(INSERT_EFFECT, [order.orderId, order.sku]);
  await client.query('COMMIT');
}

/** The same for many messages at a time. */
export async function takeBatchByHand(client: Queryable, batch: readonly Received[]): Promise<void> {
  await client.query('BEGIN');
  const { rowCount } = await client.query(
    "INSERT INTO raw_inbox (consumer, message_id) SELECT 'bench', unnest($1::uuid[]) ON CONFLICT DO NOTHING",
    [batch.map(({ id }) => id)],
  );
  if (rowCount !== batch.length) throw new Error('a message came twice');
  await client.query(INSERT_EFFECTS, [batch.map(({ order }) => order.orderId), batch.map(({ order }) => order.sku)]);
  await client.query('COMMIT');
}

/** Something that consumes what it is filled with, once it is told to start. */
export interface Consumption {
  fill(messages: number): Promise<void>;
  start(): Promise<void>;
  /** All that it was filled with has taken effect; nothing more is taken until the next start. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

const PATIENCE_MS = 60_000;

/** Messages a second, from the start until the effect of the last one is committed. */
export function consuming(
  name: string,
  messages: number,
  open: () => Promise<{ readonly consumption: Consumption; readonly database: Client }>,
): Contestant {
  return {
    name,
    open: async () => {
      const { consumption, database } = await open();
      const run = async (): Promise<Slice> => {
        await database.query('TRUNCATE effect');
        await consumption.fill(messages);
        const { elapsedMs, walBytes } = await withWalBytes(database, async () => {
          await consumption.start();
          await untilEffects(database, messages);
        });
        await consumption.stop();
        return { operations: messages, elapsedMs, sums: { walBytes } };
      };
      const close = async (): Promise<void> => {
        await consumption.close();
        await database.end();
      };
      return { run, close };
    },
  };
}

async function untilEffects(database: Client, count: number): Promise<void> {
  const endsAt = performance.now() + PATIENCE_MS;
  while (performance.now() < endsAt) {
    const { rows } = await database.query<{ count: number }>('SELECT count(*)::int AS count FROM effect');
    if (rows[0]?.count === count) return;
    await pause(10);
  }
  throw new Error(`not consumed within ${PATIENCE_MS} ms`);
}
