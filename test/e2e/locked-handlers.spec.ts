import 'reflect-metadata';
import { type Incident, Incidents } from '@lockstep/core';
import { DistributedLock, Lease, LockModule } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { type Message, OnMessage, OutboxModule, OutboxService } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { RedisModule } from '@lockstep/redis';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { BullModule, getQueueToken, Processor, WorkerHost } from '@nestjs/bullmq';
import { type DynamicModule, Injectable, type ModuleMetadata, Scope } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import type { Job, Queue } from 'bullmq';
import { afterEach, describe, expect, it } from 'vitest';

const redis = useRedis();
const postgres = usePostgres();

/** Who is inside of a lock, and who ever met another there. */
class Room {
  readonly fences: bigint[] = [];
  private inside = 0;
  wasShared = false;

  async work(lease: Lease): Promise<void> {
    this.inside += 1;
    this.wasShared ||= this.inside > 1;
    this.fences.push(lease.fence);
    await new Promise((resolve) => setImmediate(resolve));
    lease.assertHeld();
    this.inside -= 1;
  }
}

interface Booking {
  readonly account: string;
  readonly amount: number;
}

let apps: TestingModule[] = [];
afterEach(async () => {
  await Promise.all(apps.map((app) => app.close()));
  apps = [];
});

async function start(metadata: ModuleMetadata, prepare = async (_app: TestingModule) => {}): Promise<TestingModule> {
  const locks: DynamicModule[] = [
    RedisModule.forRoot({ url: redis.url, namespace: redis.prefix }),
    LockModule.forRoot({ store: redisLockStore(), wait: '10s' }),
  ];
  const app = await Test.createTestingModule({
    ...metadata,
    imports: [...locks, ...(metadata.imports ?? [])],
  }).compile();
  app.useLogger(false);
  apps.push(app);
  await prepare(app);
  return app.init();
}

function expectOneAtATime({ fences, wasShared }: Room, times: number): void {
  expect(fences).toHaveLength(times);
  expect([wasShared, fences.toSorted((a, b) => Number(a - b))]).toEqual([false, fences]);
}

describe('@DistributedLock on a processor of @nestjs/bullmq', () => {
  const rooms = { above: new Room(), scoped: new Room() };
  const [QUEUE, SCOPED_QUEUE] = ['bookings', 'scoped'];

  @Processor(QUEUE, { concurrency: 4 })
  class Bookings extends WorkerHost {
    @DistributedLock({ key: (job: Job<Booking>) => `account:${job.data.account}` })
    async process(job: Job<Booking>, token?: string, @Lease() lease?: Lease): Promise<string> {
      if (!lease) throw new Error('no lease');
      await rooms.above.work(lease);
      return `${lease.key} ${job.data.amount} ${typeof token}`;
    }
  }

  @Processor({ name: SCOPED_QUEUE, scope: Scope.REQUEST }, { concurrency: 4 })
  class ScopedBookings extends WorkerHost {
    @DistributedLock({ key: () => 'scoped' })
    async process(_job: Job<Booking>, _token?: string, @Lease() lease?: Lease): Promise<string> {
      if (!lease) throw new Error('no lease');
      await rooms.scoped.work(lease);
      return lease.key;
    }
  }

  it('lets the jobs of a key run one at a time in two instances, in request scope too', async () => {
    const { hostname: host, port } = new URL(redis.url);
    const bull = [
      BullModule.forRoot({ connection: { host, port: Number(port) }, prefix: redis.prefix }),
      BullModule.registerQueue({ name: QUEUE }, { name: SCOPED_QUEUE }),
    ];
    const metadata = { imports: bull, providers: [Bookings, ScopedBookings] };
    const [app] = await Promise.all([start(metadata), start(metadata)]);
    const queues = [QUEUE, SCOPED_QUEUE].map((name) => app.get<Queue>(getQueueToken(name)));
    const jobs = await Promise.all(
      Array.from({ length: 12 }, (_, amount) => queues[amount % 2]?.add('book', { account: 'ann', amount })),
    );
    const results = await eventually(
      async () => {
        const states = await Promise.all(jobs.map((job) => job?.getState()));
        expect(states).toEqual(jobs.map(() => 'completed'));
        return Promise.all(
          jobs.map(async (job, index) => (await queues[index % 2]?.getJob(String(job?.id)))?.returnvalue),
        );
      },
      { timeoutMs: 15_000 },
    );
    expect(results.slice(0, 3)).toEqual(['account:ann 0 string', 'scoped', 'account:ann 2 string']);
    expectOneAtATime(rooms.above, 6);
    expectOneAtATime(rooms.scoped, 6);
  });
});

describe('@DistributedLock on a handler of messages', () => {
  const rooms = { above: new Room(), below: new Room() };
  const seen: string[] = [];

  @Injectable()
  class Bookings {
    @OnMessage('booking', { consumer: 'above', concurrency: 4, batchSize: 1 })
    @DistributedLock({ key: (booking: Booking) => `above:${booking.account}` })
    async above(booking: Booking, message: Message, @Lease() lease?: Lease): Promise<void> {
      if (!lease) throw new Error('no lease');
      await rooms.above.work(lease);
      seen.push(`above ${booking.amount} ${message.topic} ${lease.key}`);
    }

    @DistributedLock({ key: (booking: Booking) => `below:${booking.account}` })
    @OnMessage('booking', { consumer: 'below', concurrency: 4, batchSize: 1 })
    async below(booking: Booking, message: Message, @Lease() lease?: Lease): Promise<void> {
      if (!lease) throw new Error('no lease');
      await rooms.below.work(lease);
      seen.push(`below ${booking.amount} ${message.topic} ${lease.key}`);
    }
  }

  it('lets the messages of a key be handled one at a time, on either side of @OnMessage', async () => {
    const incidents: Incident[] = [];
    const imports = [
      SqlModule.forRoot({ driver: pgDriver({ url: postgres.url }) }),
      OutboxModule.forRoot({ store: postgresOutboxStore(), origin: 'bank', sweepEvery: 50 }),
    ];
    const app = await start({ imports, providers: [Bookings] }, async (made) => {
      made.get(Incidents).subscribe((incident) => incidents.push(incident));
    });
    const sql = app.get(Sql);
    await sql.transaction(async (tx) => {
      for (const amount of [1, 2, 3, 4]) {
        await app.get(OutboxService).publish('booking', { account: 'ann', amount }, { tx });
      }
    });
    await eventually(() => expect(seen).toHaveLength(8), { timeoutMs: 15_000 });
    const expected = ['above', 'below'].flatMap((side) =>
      [1, 2, 3, 4].map((amount) => `${side} ${amount} booking ${side}:ann`),
    );
    expect(seen.toSorted()).toEqual(expected);
    expectOneAtATime(rooms.above, 4);
    expectOneAtATime(rooms.below, 4);
    expect(incidents).toEqual([]);
  });
});
