import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import type { Contestant, Slice } from '../harness/contestant.js';
import { CLAIM, MESSAGES, orderPlaced, TOPIC, withWalBytes } from './workload.js';

interface Row {
  readonly id: string;
  readonly payload: string;
}

/** A relay as one writes it by hand: claim in a transaction, one job a message in one addBulk, delete, commit. */
export function rawRelay(databaseUrl: string, redisUrl: string): Contestant {
  return {
    name: 'raw',
    open: async () => {
      const database = new Client(databaseUrl);
      await database.connect();
      await database.query(
        'CREATE TABLE raw_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text, payload text)',
      );
      const redis = new Redis(redisUrl);
      const queue = new Queue('raw', { connection: { url: redisUrl } });
      const run = async (): Promise<Slice> => {
        await redis.flushdb(); // the jobs of the last slice; the database belongs to this row alone
        await fill(database);
        const { elapsedMs, walBytes } = await withWalBytes(database, () => drain(database, queue));
        return { operations: MESSAGES, elapsedMs, sums: { walBytes } };
      };
      const close = async (): Promise<void> => {
        await queue.close();
        await redis.quit();
        await database.end();
      };
      return { run, close };
    },
  };
}

async function fill(database: Client): Promise<void> {
  const payloads = Array.from({ length: MESSAGES }, (_, id) => JSON.stringify(orderPlaced(id)));
  await database.query('INSERT INTO raw_outbox (topic, payload) SELECT $1, unnest($2::text[])', [TOPIC, payloads]);
}

async function drain(database: Client, queue: Queue): Promise<void> {
  for (;;) {
    await database.query('BEGIN');
    const { rows } = await database.query<Row>(
      'SELECT id, payload FROM raw_outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED',
      [CLAIM],
    );
    if (rows.length > 0) {
      await queue.addBulk(rows.map(({ id, payload }) => ({ name: TOPIC, data: payload, opts: { jobId: `m-${id}` } })));
      await database.query('DELETE FROM raw_outbox WHERE id = ANY($1::bigint[])', [rows.map(({ id }) => id)]);
    }
    await database.query('COMMIT');
    if (rows.length < CLAIM) return;
  }
}
