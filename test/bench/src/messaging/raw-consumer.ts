import { Queue, Worker } from 'bullmq';
import { Client, Pool, type PoolClient } from 'pg';
import type { Contestant } from '../harness/contestant.js';
import { type Consumption, consuming, EFFECT_TABLES, type Received, takeBatchByHand, takeByHand } from './effects.js';
import type { Servers } from './our-application.js';
import { HANDS, MESSAGES_PER_JOB, messageId, orderPlaced } from './workload.js';

interface Settings {
  readonly name: string;
  readonly messagesPerJob: number;
  /** Jobs at a time. */
  readonly concurrency: number;
  take(pool: Pool, job: readonly Received[]): Promise<void>;
}

/** The worker of ours by hand, with as many messages to a job and as many transactions at a time. */
export function rawConsumer(servers: Servers, messages: number, inBatches: boolean): Contestant {
  const oneByOne: Settings = { name: 'raw', messagesPerJob: MESSAGES_PER_JOB, concurrency: 4, take: takeInLanes };
  return byHand(servers, messages, inBatches ? { ...oneByOne, take: takeAtOnce } : oneByOne);
}

/** BullMQ as most use it: a job a message. */
export function bareBullmq(servers: Servers, messages: number): Contestant {
  return byHand(servers, messages, { name: 'bullmq', messagesPerJob: 1, concurrency: HANDS, take: takeInLanes });
}

function byHand({ databaseUrl, redisUrl }: Servers, messages: number, settings: Settings): Contestant {
  return consuming(settings.name, messages, async () => {
    const database = new Client(databaseUrl);
    await database.connect();
    await database.query(EFFECT_TABLES);
    const pool = new Pool({ connectionString: databaseUrl, max: HANDS });
    return { database, consumption: await open(pool, redisUrl, settings) };
  });
}

async function open(pool: Pool, url: string, settings: Settings): Promise<Consumption> {
  const { name, messagesPerJob, concurrency, take } = settings;
  const queueName = `${name}-${messagesPerJob}-${take.name}`;
  const queue = new Queue<readonly Received[]>(queueName, { connection: { url } });
  await queue.pause();
  const worker = new Worker<readonly Received[]>(queueName, ({ data }) => take(pool, data), {
    connection: { url },
    concurrency,
    removeOnComplete: { count: 0 },
  });
  return {
    fill: async (count) => {
      const received = Array.from({ length: count }, (_, n) => ({ id: messageId(), order: orderPlaced(n) }));
      for (let from = 0; from < count; from += 5_000) {
        const some = received.slice(from, from + 5_000);
        const jobs = Array.from({ length: some.length / messagesPerJob }, (_, n) => ({
          name: 'messages',
          data: some.slice(n * messagesPerJob, (n + 1) * messagesPerJob),
        }));
        await queue.addBulk(jobs);
      }
    },
    start: () => queue.resume(),
    stop: () => queue.pause(),
    close: async () => {
      await worker.close();
      await queue.close();
      await pool.end();
    },
  };
}

/** Each message in a transaction of its own, in as many lanes as share the hands evenly among four jobs. */
async function takeInLanes(pool: Pool, job: readonly Received[]): Promise<void> {
  const lanes = Math.min(HANDS / 4, job.length);
  const lane = async (first: number): Promise<void> => {
    for (let n = first; n < job.length; n += lanes) {
      const received = job[n];
      if (received) await onOwnClient(pool, (client) => takeByHand(client, received));
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, first) => lane(first)));
}

async function takeAtOnce(pool: Pool, job: readonly Received[]): Promise<void> {
  await onOwnClient(pool, (client) => takeBatchByHand(client, job));
}

/** A client whose work failed may have a transaction open. */
export async function onOwnClient<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let failed = true;
  try {
    const value = await work(client);
    failed = false;
    return value;
  } finally {
    client.release(failed);
  }
}
