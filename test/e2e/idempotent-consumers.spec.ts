import { type ChildHandle, eventually, spawnNode } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { type Job, Queue } from 'bullmq';
import { Client } from 'pg';
import { v7 } from 'uuid';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

const redis = useRedis();
const postgres = usePostgres();
const QUEUE = 'points';
/** Of a process with a whole application, on a machine that is busy with other tests. */
const START_MS = 30_000;

type Mode = 'transactional' | 'lease';

describe('@IdempotentConsumer behind a BullMQ worker', { timeout: 90_000 }, () => {
  let queue: Queue;
  let client: Client;
  let children: ChildHandle[] = [];
  beforeAll(async () => {
    const { hostname: host, port } = new URL(redis.url);
    queue = new Queue(QUEUE, { connection: { host, port: Number(port) }, prefix: redis.prefix });
    client = new Client({ connectionString: postgres.url });
    await client.connect();
    await client.query('CREATE TABLE points (message_id uuid, amount int, by int)');
  });
  afterAll(() => Promise.all([queue.close(), client.end()]));
  afterEach(async () => {
    await Promise.all(children.map((child) => child.sigkill()));
    children = [];
  });

  async function spawnConsumer(mode: Mode, killAt?: string): Promise<ChildHandle> {
    const setting = { redisUrl: redis.url, postgresUrl: postgres.url, namespace: redis.prefix, queue: QUEUE, mode };
    const child = spawnNode(new URL('./idempotent-consumer.child.mjs', import.meta.url), {
      env: { CONSUMER: JSON.stringify(setting) },
      ...(killAt === undefined ? {} : { killAt }),
    });
    children.push(child);
    await child.waitForMessage(() => true, START_MS);
    return child;
  }

  const deliver = (id: string): Promise<Job> =>
    queue.add('paid', { id, amount: 5 }, { attempts: 30, backoff: { type: 'fixed', delay: 200 } });

  async function acknowledgedBy(job: Job): Promise<unknown> {
    return eventually(
      async () => {
        expect(await job.getState()).toBe('completed');
        return (await queue.getJob(String(job.id)))?.returnvalue as unknown;
      },
      { timeoutMs: 30_000 },
    );
  }

  async function effects(id: string): Promise<unknown[]> {
    const { rows } = await client.query<{ by: number }>('SELECT by FROM points WHERE message_id = $1', [id]);
    return rows.map(({ by }) => by);
  }

  async function killedAt(
    killAt: string,
    mode: Mode,
  ): Promise<{ id: string; by: number; next: number; last: unknown }> {
    const id = v7();
    const first = await spawnConsumer(mode, killAt);
    const job = await deliver(id);
    expect((await first.exited).signal).toBe('SIGKILL');
    const next = await spawnConsumer(mode);
    return { id, by: first.pid, next: next.pid, last: await acknowledgedBy(job) };
  }

  it('handles a message once that three jobs bring to two consumers', async () => {
    const consumers = [await spawnConsumer('transactional'), await spawnConsumer('transactional')];
    const id = v7();
    const jobs = await Promise.all([deliver(id), deliver(id), deliver(id)]);
    await Promise.all(jobs.map(acknowledgedBy));
    const done = await effects(id);
    expect(done).toHaveLength(1);
    expect(consumers.map(({ pid }) => pid)).toContain(done[0]);
  });

  it('leaves nothing of a consumer that is killed before its commit: the next one handles the message', async () => {
    const { id, next, last } = await killedAt('effect', 'transactional');
    expect([await effects(id), last]).toEqual([[next], next]);
  });

  it('keeps the effect of a consumer that is killed after its commit: the next one acknowledges and does nothing', async () => {
    const { id, by, next, last } = await killedAt('handled', 'transactional');
    expect([await effects(id), last]).toEqual([[by], next]);
  });

  it('by lease, does nothing again after a kill once the message was handled, before it was acknowledged', async () => {
    const { id, by, next, last } = await killedAt('handled', 'lease');
    expect([await effects(id), last]).toEqual([[by], next]);
  });

  it('by lease, handles again what a kill broke off, if the policy is retry: without a transaction its effect stands twice', async () => {
    const { id, by, next } = await killedAt('effect', 'lease');
    expect(await effects(id)).toEqual([by, next]);
  });
});
