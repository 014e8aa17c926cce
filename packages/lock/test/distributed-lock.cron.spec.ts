import 'reflect-metadata';
import { DistributedLock, Lease, LockModule } from '@lockstep/lock';
import { redisLockStore } from '@lockstep/lock/redis';
import { RedisModule } from '@lockstep/redis';
import { eventually } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { type INestApplicationContext, Inject, Injectable, Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Cron, Interval, ScheduleModule } from '@nestjs/schedule';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const redis = useRedis();
const INSTANCE = Symbol('instance');
const EVERY_SECOND = '* * * * * *';

type Job = 'above' | 'below' | 'interval';

interface Run {
  readonly instance: string;
  readonly fence: bigint;
}

const runs: Record<Job, Run[]> = { above: [], below: [], interval: [] };
const refusals: string[] = [];

let end: () => void = () => undefined;
const ended = new Promise<void>((resolve) => {
  end = resolve;
});

/** Goes on until the end of the tests, so that every other tick comes while it runs. */
async function settle(job: Job, instance: string, { fence }: Lease): Promise<void> {
  runs[job].push({ instance, fence });
  await ended;
}

@Injectable()
class Settlement {
  constructor(@Inject(INSTANCE) private readonly instance: string) {}

  @Cron(EVERY_SECOND, { name: 'above' })
  @DistributedLock({ key: () => 'settlement:above', wait: 0 })
  async above(@Lease() lease: Lease): Promise<void> {
    await settle('above', this.instance, lease);
  }

  @DistributedLock({ key: () => 'settlement:below', wait: 0 })
  @Cron(EVERY_SECOND, { name: 'below' })
  async below(@Lease() lease: Lease): Promise<void> {
    await settle('below', this.instance, lease);
  }

  @DistributedLock({ key: () => 'settlement:interval', wait: 0 })
  @Interval(1_000)
  async interval(@Lease() lease: Lease): Promise<void> {
    await settle('interval', this.instance, lease);
  }
}

@Module({})
class Root {}

function start(instance: string): Promise<INestApplicationContext> {
  const imports = [
    ScheduleModule.forRoot(),
    RedisModule.forRoot({ url: redis.url, namespace: redis.prefix }),
    LockModule.forRoot({ store: redisLockStore() }),
  ];
  const root = { module: Root, imports, providers: [Settlement, { provide: INSTANCE, useValue: instance }] };
  return NestFactory.createApplicationContext(root, { logger: ['error'], abortOnError: false });
}

describe('@DistributedLock on a job that two instances schedule', () => {
  let apps: INestApplicationContext[] = [];
  beforeAll(async () => {
    // The scheduler logs what a job rejects with, and nothing else hears of it.
    vi.spyOn(Logger.prototype, 'error').mockImplementation((error: unknown) => void refusals.push(String(error)));
    apps = await Promise.all([start('one'), start('two')]);
  });
  afterAll(async () => {
    end();
    await Promise.all(apps.map((app) => app.close()));
    vi.restoreAllMocks();
  });

  it.each(['above', 'below', 'interval'] as const)('lets one tick run at a time, standing %s', async (job) => {
    const refused = () => refusals.filter((text) => text.includes(`Lock 'settlement:${job}' is held by another`));
    await eventually(() => expect(refused().length).toBeGreaterThan(2), { timeoutMs: 15_000 });
    expect(runs[job]).toEqual([{ instance: expect.any(String), fence: expect.any(BigInt) }]);
    expect(refused().every((text) => text.startsWith('LockBusyError'))).toBe(true);
  });
});
