import { OutboxService } from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { Client, Pool } from 'pg';
import { type Bench, type Contestant, closedLoop, type Slice } from '../harness/contestant.js';
import { EFFECT_TABLES, INSERT_ORDER } from './effects.js';
import { CONSUMER, ourApplication, type Servers } from './our-application.js';
import { onOwnClient } from './raw-consumer.js';
import { messageId, orderPlaced, TOPIC, withWalBytes } from './workload.js';

export const WRITERS = 16;

/** Publishes one message with a business row, in one transaction. */
export interface Publisher {
  publish(orderId: number): Promise<void>;
  /** Takes away what was published. */
  empty(database: Client): Promise<unknown>;
  close(): Promise<void>;
}

/** Many writers; the latencies are those of whole transactions. */
export function publishing(name: string, databaseUrl: string, open: () => Promise<Publisher>): Contestant {
  return {
    name,
    open: async (): Promise<Bench> => {
      const database = new Client(databaseUrl);
      await database.connect();
      await database.query(EFFECT_TABLES);
      const publisher = await open();
      let orderId = 0;
      const run = async (sliceMs: number): Promise<Slice> => {
        await database.query('TRUNCATE bench_order');
        await publisher.empty(database);
        let slice: Slice | undefined;
        const { walBytes } = await withWalBytes(database, async () => {
          slice = await closedLoop(WRITERS, sliceMs, () => publisher.publish(orderId++));
        });
        return { ...(slice as unknown as Slice), sums: { walBytes } };
      };
      const close = async (): Promise<void> => {
        await publisher.close();
        await database.end();
      };
      return { run, close };
    },
  };
}

export function ourPublisher(servers: Servers): Contestant {
  return publishing('ours', servers.databaseUrl, async () => {
    const app = await ourApplication(servers, {
      topics: { [TOPIC]: { consumers: [CONSUMER] } },
      run: { relay: false, consumers: false },
    });
    const sql = app.get(Sql);
    const outbox = app.get(OutboxService);
    return {
      publish: (orderId) =>
        sql.transaction(async (tx) => {
          const order = orderPlaced(orderId);
          await tx.execute(INSERT_ORDER, [order.orderId, order.sku, order.qty]);
          await outbox.publish(TOPIC, order);
        }),
      empty: (database) => database.query('TRUNCATE lockstep_outbox'),
      close: () => app.close(),
    };
  });
}

const RAW_OUTBOX = `CREATE TABLE raw_publish (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id uuid NOT NULL,
  topic text NOT NULL, payload text NOT NULL, at timestamptz NOT NULL DEFAULT now())`;

/** The same two inserts, as one writes them by hand. */
export function rawPublisher({ databaseUrl }: Servers): Contestant {
  return publishing('raw', databaseUrl, async () => {
    const pool = new Pool({ connectionString: databaseUrl, max: WRITERS });
    await pool.query(RAW_OUTBOX);
    return {
      publish: (orderId) =>
        onOwnClient(pool, async (client) => {
          const order = orderPlaced(orderId);
          await client.query('BEGIN');
          await client.query(INSERT_ORDER, [order.orderId, order.sku, order.qty]);
          await client.query('INSERT INTO raw_publish (message_id, topic, payload) VALUES ($1, $2, $3)', [
            messageId(),
            TOPIC,
            JSON.stringify(order),
          ]);
          await client.query('COMMIT');
        }),
      empty: (database) => database.query('TRUNCATE raw_publish'),
      close: () => pool.end(),
    };
  });
}
