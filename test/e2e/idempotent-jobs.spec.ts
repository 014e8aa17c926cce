import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { IdempotencyModule, Idempotent } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { DistributedLock, LockModule } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { type ChildHandle, eventually, spawnNode } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { BullModule, getQueueToken, Processor, WorkerHost } from '@nestjs/bullmq';
import { Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { type Job, Queue } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const redis = useRedis();
const SECRET = 'a secret that only the tests know';
const CHARGES = 'charges';
/** Of a process with a whole application, on a machine that is busy with other tests. */
const START_MS = 30_000;

interface Charge {
  readonly id: string;
  readonly amount: number;
}

const runs: string[] = [];
let gate: Promise<unknown> = Promise.resolve();
let open = (): void => undefined;
let opened: { close(): Promise<unknown> }[] = [];
beforeEach(() => {
  runs.length = 0;
  gate = Promise.resolve();
});
afterEach(async () => {
  // Whatever went wrong: a worker closes only after its jobs.
  open();
  const closing = opened;
  opened = [];
  await Promise.all(closing.map((it) => it.close()));
});

@Injectable()
class Bank {
  @Idempotent({ key: (charge: Charge) => charge.id, scope: 'global', operation: 'bank.charge' })
  @DistributedLock({ key: (charge: Charge) => `charge:${charge.id}` })
  async charge(charge: Charge): Promise<number> {
    runs.push(`bank ${charge.id}`);
    return charge.amount;
  }
}

@Processor(CHARGES, { concurrency: 4 })
class Charges extends WorkerHost {
  constructor(private readonly bank: Bank) {
    super();
  }

  @Idempotent({ key: (job: Job<Charge>) => job.data.id, scope: 'global', onLeaseExpiry: 'retry' })
  async process(job: Job<Charge>, token?: string): Promise<{ charged: number; run: number }> {
    runs.push(job.data.id);
    await gate;
    const charged = await this.bank.charge(job.data);
    if (job.data.id.startsWith('shaky') && job.attemptsMade === 0) throw new Error(`not yet ${typeof token}`);
    return { charged, run: runs.length };
  }
}

async function startWorker(): Promise<TestingModule> {
  const { hostname: host, port } = new URL(redis.url);
  const app = await Test.createTestingModule({
    providers: [Bank, Charges],
    imports: [
      BullModule.forRoot({ connection: { host, port: Number(port) }, prefix: redis.prefix }),
      BullModule.registerQueue({ name: CHARGES }),
      RedisModule.forRoot({ url: redis.url, namespace: redis.prefix }),
      LockModule.forRoot({ store: redisLockStore() }),
      IdempotencyModule.forRoot({ store: redisIdempotencyStore(), scope: 'global', secret: SECRET }),
    ],
  }).compile();
  app.useLogger(false);
  opened.push(app);
  return app.init();
}

async function resultOf(queue: Queue, job: Job): Promise<unknown> {
  return eventually(
    async () => {
      expect(await job.getState()).toBe('completed');
      return (await queue.getJob(String(job.id)))?.returnvalue as unknown;
    },
    { timeoutMs: 30_000 },
  );
}

describe('@Idempotent on a processor of @nestjs/bullmq', () => {
  it('does the work of a message once, whatever number of jobs bring it, and gives each the first result', async () => {
    const queue = (await startWorker()).get<Queue>(getQueueToken(CHARGES));
    await startWorker();
    const data = { id: `twice:${randomUUID()}`, amount: 5 };
    const jobs = await Promise.all(Array.from({ length: 6 }, () => queue.add('charge', data)));
    const results = await Promise.all(jobs.map((job) => resultOf(queue, job)));
    expect(results).toEqual(results.map(() => ({ charged: 5, run: 2 })));
    expect(runs).toEqual([data.id, `bank ${data.id}`]);
  });

  it('puts a job off while the work of another goes on, without failing it or counting an attempt', async () => {
    const queue = (await startWorker()).get<Queue>(getQueueToken(CHARGES));
    gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const data = { id: `busy:${randomUUID()}`, amount: 5 };
    const first = await queue.add('charge', data);
    await eventually(() => expect(runs).toHaveLength(1));
    const second = await queue.add('charge', data);
    await eventually(async () => expect(await second.getState()).toBe('delayed'));
    open();
    const results = [await resultOf(queue, first), await resultOf(queue, second)];
    expect(results).toEqual(results.map(() => ({ charged: 5, run: 2 })));
    const { attemptsMade, failedReason } = (await queue.getJob(String(second.id))) as Job;
    expect([attemptsMade, failedReason]).toEqual([1, undefined]);
  });

  it('lets the attempt after a failure work again, and what had been done inside of it is not done twice', async () => {
    const queue = (await startWorker()).get<Queue>(getQueueToken(CHARGES));
    const data = { id: `shaky:${randomUUID()}`, amount: 5 };
    const job = await queue.add('charge', data, { attempts: 2 });
    expect(await resultOf(queue, job)).toEqual({ charged: 5, run: 3 });
    expect(runs).toEqual([data.id, `bank ${data.id}`, data.id]);
  });

  it('fails a job that brings other data under the same key', async () => {
    const queue = (await startWorker()).get<Queue>(getQueueToken(CHARGES));
    const id = `reused:${randomUUID()}`;
    await resultOf(queue, await queue.add('charge', { id, amount: 5 }));
    const other = await queue.add('charge', { id, amount: 6 });
    await eventually(async () => expect(await other.getState()).toBe('failed'));
    expect((await queue.getJob(String(other.id)))?.failedReason).toContain('already used with another payload');
  });
});

describe('a worker that is killed', { timeout: 90_000 }, () => {
  const name = 'crashing';

  function openQueue(): Queue {
    const { hostname: host, port } = new URL(redis.url);
    const queue = new Queue(name, { connection: { host, port: Number(port) }, prefix: redis.prefix });
    opened.push(queue);
    return queue;
  }

  async function spawnWorker(policy: string, killAt?: string): Promise<ChildHandle> {
    const setting = { url: redis.url, namespace: redis.prefix, queue: name, policy };
    const child = spawnNode(new URL('./idempotent-job.child.mjs', import.meta.url), {
      env: { WORKER: JSON.stringify(setting) },
      ...(killAt === undefined ? {} : { killAt }),
    });
    opened.push({ close: () => child.sigkill() });
    await child.waitForMessage((message) => (message as { ready?: true }).ready === true, START_MS);
    return child;
  }

  async function killedAt(killAt: string, policy: string): Promise<{ queue: Queue; job: Job; next: ChildHandle }> {
    const queue = openQueue();
    const first = await spawnWorker(policy, killAt);
    const job = await queue.add('charge', { id: randomUUID(), amount: 5 });
    expect((await first.exited).signal).toBe('SIGKILL');
    return { queue, job, next: await spawnWorker(policy) };
  }

  function chargedBy({ messages }: ChildHandle): unknown[] {
    return messages.filter((message) => typeof message === 'object' && message !== null && 'charged' in message);
  }

  it('inside of the work lets the next one do it again, where the policy is retry and only after the lease', async () => {
    const { queue, job, next } = await killedAt('handler', 'retry');
    expect(await resultOf(queue, job)).toEqual({ charged: 5, by: next.pid });
    expect(chargedBy(next)).toEqual([{ charged: job.data.id, recovered: true }]);
  });

  it('inside of the work leaves the job failed and its outcome uncertain where the policy is uncertain', async () => {
    const { queue, job, next } = await killedAt('handler', 'uncertain');
    await eventually(async () => expect(await job.getState()).toBe('failed'), { timeoutMs: 30_000 });
    expect((await queue.getJob(String(job.id)))?.failedReason).toContain('whether it took effect is not known');
    expect(chargedBy(next)).toEqual([]);
  });

  it('after the result was stored does nothing again: the next one gives the job the first result', async () => {
    const { queue, job, next } = await killedAt('idempotency.settled', 'uncertain');
    expect(await resultOf(queue, job)).toMatchObject({ charged: 5 });
    expect(chargedBy(next)).toEqual([]);
  });
});
