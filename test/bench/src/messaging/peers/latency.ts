import { Logger, run, runMigrations } from 'graphile-worker';
import { Pool } from 'pg';
import PgBoss from 'pg-boss';
import type { Contestant } from '../../harness/contestant.js';
import { INSERT_ORDER, type Received, takeByHand } from '../effects.js';
import { latency } from '../latency.js';
import type { Servers } from '../our-application.js';
import { onOwnClient } from '../raw-consumer.js';
import { messageId, type OrderPlaced, orderPlaced } from '../workload.js';

const TASK = 'latency';
const QUEUE = 'bench-latency';

export function graphileLatency({ databaseUrl }: Servers): Contestant {
  return latency('graphile-worker', databaseUrl, async (arrivals) => {
    const pool = new Pool({ connectionString: databaseUrl, max: 8 });
    await runMigrations({ connectionString: databaseUrl });
    const runner = await run({
      connectionString: databaseUrl,
      concurrency: 8,
      noHandleSignals: true,
      logger: new Logger(() => () => undefined),
      taskList: {
        [TASK]: async (payload, { withPgClient }) => {
          const received = payload as unknown as Received;
          await withPgClient((client) => takeByHand(client, received));
          arrivals.arrived(received.order.orderId);
        },
      },
    });
    return {
      publish: (orderId) =>
        onOwnClient(pool, async (client) => {
          const order = orderPlaced(orderId);
          await client.query('BEGIN');
          await client.query(INSERT_ORDER, [order.orderId, order.sku, order.qty]);
          const payload = JSON.stringify({ id: messageId(), order });
          await client.query('SELECT graphile_worker.add_job($1, $2::json)', [TASK, payload]);
          await client.query('COMMIT');
        }),
      close: async () => {
        await runner.stop();
        await pool.end();
      },
    };
  });
}

/** It only polls; as often as it can be told to. */
export function pgBossLatency({ databaseUrl }: Servers): Contestant {
  return latency('pg-boss', databaseUrl, async (arrivals) => {
    const pool = new Pool({ connectionString: databaseUrl, max: 8 });
    const boss = new PgBoss({ connectionString: databaseUrl, max: 4, supervise: false, schedule: false });
    boss.on('error', (error) => console.error(error));
    await boss.start();
    await boss.createQueue(QUEUE);
    await boss.work<OrderPlaced>(QUEUE, { batchSize: 100, pollingIntervalSeconds: 0.5 }, async (jobs) => {
      const take = async ({ id, data }: PgBoss.Job<OrderPlaced>): Promise<void> => {
        await onOwnClient(pool, (client) => takeByHand(client, { id, order: data }));
        arrivals.arrived(data.orderId);
      };
      await Promise.all(jobs.map(take));
    });
    return {
      publish: (orderId) =>
        onOwnClient(pool, async (client) => {
          const order = orderPlaced(orderId);
          await client.query('BEGIN');
          await client.query(INSERT_ORDER, [order.orderId, order.sku, order.qty]);
          await boss.send(QUEUE, order, { db: { executeSql: (text, values) => client.query(text, values) } });
          await client.query('COMMIT');
        }),
      close: async () => {
        await boss.stop({ graceful: false });
        await pool.end();
      },
    };
  });
}
