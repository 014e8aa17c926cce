import { randomUUID } from 'node:crypto';
import { type Client } from 'pg';

/** Messages that one slice relays; written before the clock starts. */
export const MESSAGES = 3000;
/** Messages of one claim, for both sides. */
export const CLAIM = 500;
export const TOPIC = 'bench.order-placed';

export interface OrderPlaced {
  readonly orderId: number;
  readonly sku: string;
  readonly qty: number;
  readonly note: string;
}

/** About 200 bytes of JSON. */
export function orderPlaced(orderId: number): OrderPlaced {
  return {
    orderId,
    sku: 'anchor-cast-iron-12kg',
    qty: 1,
    note: 'leave it at the harbour master, second door '.repeat(3),
  };
}

/** Bytes of write-ahead log that Postgres wrote while `work` ran, and how long it took. */
export async function withWalBytes(
  database: Client,
  work: () => Promise<void>,
): Promise<{ elapsedMs: number; walBytes: number }> {
  const before = await walPosition(database);
  const startedAt = performance.now();
  await work();
  const elapsedMs = performance.now() - startedAt;
  const { rows } = await database.query<{ bytes: string }>(
    'SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::pg_lsn)::text AS bytes',
    [before],
  );
  return { elapsedMs, walBytes: Number(rows[0]?.bytes) };
}

async function walPosition(database: Client): Promise<string | undefined> {
  const { rows } = await database.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
  return rows[0]?.lsn;
}

/** Messages that travel in one job, for both sides. */
export const MESSAGES_PER_JOB = 100;
/** Transactions of consumers at a time, for all. */
export const HANDS = 16;

/** A UUIDv7, as all sides but those that make ids of their own use them. */
export function messageId(): string {
  const time = Date.now().toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}
