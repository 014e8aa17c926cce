import { runMigrations } from 'graphile-worker';
import { Pool, type PoolClient } from 'pg';
import PgBoss from 'pg-boss';
import { DatabaseSetup, getDisabledLogger, initializeMessageStorage } from 'pg-transactional-outbox';
import type { Contestant } from '../../harness/contestant.js';
import { INSERT_ORDER } from '../effects.js';
import type { Servers } from '../our-application.js';
import { publishing, WRITERS } from '../publishers.js';
import { onOwnClient } from '../raw-consumer.js';
import { messageId, type OrderPlaced, orderPlaced } from '../workload.js';

const QUEUE = 'bench-publish';
const TASK = 'publish';

/** Begins, writes the order, lets the library write its message with the same client, commits. */
function inTransaction(pool: Pool, publish: (client: PoolClient, order: OrderPlaced) => Promise<unknown>) {
  return (orderId: number): Promise<void> =>
    onOwnClient(pool, async (client) => {
      const order = orderPlaced(orderId);
      await client.query('BEGIN');
      await client.query(INSERT_ORDER, [order.orderId, order.sku, order.qty]);
      await publish(client, order);
      await client.query('COMMIT');
    });
}

export function pgBossPublisher({ databaseUrl }: Servers): Contestant {
  return publishing('pg-boss', databaseUrl, async () => {
    const pool = new Pool({ connectionString: databaseUrl, max: WRITERS });
    const boss = new PgBoss({ connectionString: databaseUrl, max: 2, supervise: false, schedule: false });
    boss.on('error', (error) => console.error(error));
    await boss.start();
    await boss.createQueue(QUEUE);
    return {
      publish: inTransaction(pool, (client, order) =>
        boss.send(QUEUE, order, { db: { executeSql: (text, values) => client.query(text, values) } }),
      ),
      empty: () => boss.purgeQueue(QUEUE),
      close: async () => {
        await boss.stop({ graceful: false });
        await pool.end();
      },
    };
  });
}

export function graphilePublisher({ databaseUrl }: Servers): Contestant {
  return publishing('graphile-worker', databaseUrl, async () => {
    const pool = new Pool({ connectionString: databaseUrl, max: WRITERS });
    await runMigrations({ connectionString: databaseUrl });
    return {
      publish: inTransaction(pool, (client, order) =>
        client.query('SELECT graphile_worker.add_job($1, $2::json)', [TASK, JSON.stringify(order)]),
      ),
      empty: (database) => database.query('TRUNCATE graphile_worker._private_jobs'),
      close: () => pool.end(),
    };
  });
}

export function pgTransactionalOutboxPublisher({ databaseUrl }: Servers): Contestant {
  return publishing('pg-transactional-outbox', databaseUrl, async () => {
    const pool = new Pool({ connectionString: databaseUrl, max: WRITERS });
    const place = { outboxOrInbox: 'outbox', schema: 'public', table: 'pto_outbox' } as const;
    const setup = { ...place, database: 'bench', listenerRole: 'postgres', nextMessagesName: 'pto_next' };
    await pool.query(DatabaseSetup.dropAndCreateTable(setup));
    await pool.query(DatabaseSetup.setupPollingIndexes(setup));
    const settings = {
      dbSchema: place.schema,
      dbTable: place.table,
      enableMaxAttemptsProtection: true,
      enablePoisonousMessageProtection: true,
    };
    const store = initializeMessageStorage({ outboxOrInbox: 'outbox', settings }, getDisabledLogger());
    return {
      publish: inTransaction(pool, (client, order) =>
        store(
          {
            id: messageId(),
            aggregateType: 'order',
            aggregateId: String(order.orderId),
            messageType: 'placed',
            payload: order,
          },
          client,
        ),
      ),
      empty: (database) => database.query(`TRUNCATE ${place.table}`),
      close: () => pool.end(),
    };
  });
}
