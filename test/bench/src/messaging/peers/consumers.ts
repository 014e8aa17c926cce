import { Logger, type Runner, run, runMigrations } from 'graphile-worker';
import { Client, Pool } from 'pg';
import PgBoss from 'pg-boss';
import type { Contestant } from '../../harness/contestant.js';
import { consuming, EFFECT_TABLES, type Received, takeBatchByHand, takeByHand } from '../effects.js';
import type { Servers } from '../our-application.js';
import { onOwnClient } from '../raw-consumer.js';
import { HANDS, MESSAGES_PER_JOB, messageId, type OrderPlaced, orderPlaced } from '../workload.js';

const TASK = 'take';
const QUEUE = 'bench-consume';

async function connected(databaseUrl: string): Promise<{ readonly database: Client; readonly pool: Pool }> {
  const database = new Client(databaseUrl);
  await database.connect();
  await database.query(EFFECT_TABLES);
  return { database, pool: new Pool({ connectionString: databaseUrl, max: HANDS }) };
}

/** A job a message, on its own queue of workers in this process; it hears of jobs by LISTEN. */
export function graphileConsumer({ databaseUrl }: Servers, messages: number): Contestant {
  return consuming('graphile-worker', messages, async () => {
    const { database, pool } = await connected(databaseUrl);
    await runMigrations({ connectionString: databaseUrl });
    const filling = await pool.connect();
    const runner: Runner = await run({
      connectionString: databaseUrl,
      concurrency: HANDS,
      maxPoolSize: HANDS + 4,
      noHandleSignals: true,
      logger: new Logger(() => () => undefined),
      taskList: {
        [TASK]: async (payload, { withPgClient }) =>
          withPgClient((client) => takeByHand(client, payload as unknown as Received)),
      },
    });
    const consumption = {
      // The jobs are there, and announced, from the commit on.
      fill: async (count: number) => {
        await filling.query('BEGIN');
        const payloads = Array.from({ length: count }, (_, n) => ({ id: messageId(), order: orderPlaced(n) }));
        await filling.query(
          `SELECT count(graphile_worker.add_job('${TASK}', payload)) FROM json_array_elements($1::json) payload`,
          [JSON.stringify(payloads)],
        );
      },
      start: async () => void (await filling.query('COMMIT')),
      stop: async () => undefined,
      close: async () => {
        await runner.stop();
        filling.release();
        await pool.end();
      },
    };
    return { database, consumption };
  });
}

/** Fetches as much as one fetch gives; the messages of a fetch in one transaction, or each in its own. */
export function pgBossConsumer({ databaseUrl }: Servers, messages: number, inBatches: boolean): Contestant {
  return consuming('pg-boss', messages, async () => {
    const { database, pool } = await connected(databaseUrl);
    const boss = new PgBoss({ connectionString: databaseUrl, max: 4, supervise: false, schedule: false });
    boss.on('error', (error) => console.error(error));
    await boss.start();
    await boss.createQueue(QUEUE);
    const take = async (jobs: readonly PgBoss.Job<OrderPlaced>[]): Promise<void> => {
      const received = jobs.map(({ id, data }) => ({ id, order: data }));
      if (inBatches) await onOwnClient(pool, (client) => takeBatchByHand(client, received));
      else await Promise.all(received.map((one) => onOwnClient(pool, (client) => takeByHand(client, one))));
    };
    const batchSize = inBatches ? 10 * MESSAGES_PER_JOB : messages;
    const consumption = {
      fill: async (count: number) => {
        await boss.insert(Array.from({ length: count }, (_, n) => ({ name: QUEUE, data: orderPlaced(n) })));
      },
      start: async () => void (await boss.work<OrderPlaced>(QUEUE, { batchSize, pollingIntervalSeconds: 0.5 }, take)),
      stop: () => boss.offWork(QUEUE),
      close: async () => {
        await boss.stop({ graceful: false });
        await pool.end();
      },
    };
    return { database, consumption };
  });
}
