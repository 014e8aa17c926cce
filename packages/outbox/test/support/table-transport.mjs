import { StoreUnavailableError } from '@lockstep/core';
import pg from 'pg';

const SCHEMA = `CREATE TABLE IF NOT EXISTS test_broker (
  seq bigserial PRIMARY KEY, route text NOT NULL, id text NOT NULL, message json NOT NULL,
  attempt int NOT NULL DEFAULT 0, visible_at timestamptz NOT NULL DEFAULT now(), UNIQUE (route, id))`;
// What was handed out before comes alone: it may be what killed the process.
const TAKE = `UPDATE test_broker SET attempt = attempt + 1, visible_at = now() + interval '2 seconds'
  WHERE seq IN (SELECT seq FROM test_broker WHERE route = $1 AND visible_at <= now() AND (attempt = 0) = $3
                ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED)
  RETURNING seq, message, attempt`;
const POLL_MS = 10;

/** A broker for tests that outlives the processes that use it: a table, polled. */
export class TableTransport {
  #pool;
  #schema;
  #subscriptions = new Set();

  constructor(url) {
    this.#pool = new pg.Pool({ connectionString: url, max: 4 });
    this.#pool.on('error', () => undefined);
  }

  async publish(route, messages) {
    try {
      await this.#ready();
      for (const message of messages) {
        const sent = JSON.stringify(message);
        await this.#pool.query(
          'INSERT INTO test_broker (route, id, message) VALUES ($1, $2, $3) ON CONFLICT (route, id) DO NOTHING',
          [nameOf(route), message.id, sent],
        );
      }
    } catch (cause) {
      throw new StoreUnavailableError({ store: 'table', operation: 'publish', outcome: 'unknown', cause });
    }
    return messages.map(() => ({ outcome: 'accepted' }));
  }

  async consume(route, handler, { concurrency, batchSize }) {
    await this.#ready();
    let isOpen = true;
    const work = async () => {
      while (isOpen) {
        const rows = await this.#take(route, batchSize);
        if (rows.length > 0)
          await this.#handle(
            handler,
            rows.sort((a, b) => Number(a.seq - b.seq)),
          );
        else await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    };
    const workers = Promise.all(Array.from({ length: concurrency }, work));
    const subscription = {
      close: async (signal) => {
        isOpen = false;
        const aborted = new Promise((resolve) => signal?.addEventListener('abort', resolve));
        await Promise.race([workers, aborted]);
      },
    };
    this.#subscriptions.add(subscription);
    return subscription;
  }

  async close() {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.close()));
    await this.#pool.end();
  }

  #ready() {
    this.#schema ??= this.#pool.query(SCHEMA);
    return this.#schema;
  }

  async #take(route, batchSize) {
    const { rows } = await this.#pool.query(TAKE, [nameOf(route), batchSize, true]);
    return rows.length > 0 ? rows : (await this.#pool.query(TAKE, [nameOf(route), 1, false])).rows;
  }

  async #handle(handler, rows) {
    const outcomes = await answers(handler, rows);
    for (const [index, { seq }] of rows.entries()) {
      const { outcome, delayMs } = outcomes[index];
      if (outcome === 'done' || outcome === 'dead') {
        await this.#pool.query('DELETE FROM test_broker WHERE seq = $1', [seq]);
        continue;
      }
      await this.#pool.query(
        `UPDATE test_broker SET attempt = attempt - $3, visible_at = now() + $2 * interval '1 millisecond' WHERE seq = $1`,
        [seq, delayMs, outcome === 'postpone' ? 1 : 0],
      );
    }
  }
}

async function answers(handler, rows) {
  try {
    return await handler(rows.map(({ message, attempt }) => ({ message: { key: undefined, ...message }, attempt })));
  } catch {
    return rows.map(() => ({ outcome: 'retry', delayMs: 1_000 }));
  }
}

function nameOf({ topic, consumer }) {
  return `${topic}/${consumer}`;
}
