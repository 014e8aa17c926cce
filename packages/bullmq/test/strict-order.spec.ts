import 'reflect-metadata';
import { bullmqTransport } from '@lockstep/bullmq';
import { LockstepModule } from '@lockstep/core';
import {
  DeadLetters,
  MESSAGE_TRANSPORT,
  type MessageEnvelope,
  type MessageTransport,
  OnMessage,
  OutboxModule,
} from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually, seed, seededRandom } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const KEYS = ['a', 'b', 'c'];
const MESSAGES = 8;
const PATIENT = { timeoutMs: 40_000, intervalMs: 100 };
let lastId = 0;

interface Step {
  readonly key: string;
  readonly n: number;
}

@Injectable()
class Steps {
  private failures = 0;

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('step', { consumer: 'one', attempts: 5, backoff: { first: 20, atMost: 50 }, concurrency: 4, batchSize: 3 })
  async one(step: Step): Promise<void> {
    await this.take('one', step);
    this.failures += 1;
    if (this.failures % 7 === 0) throw new Error('now and then');
  }

  @OnMessage('step', { consumer: 'many', attempts: 5, backoff: { first: 20, atMost: 50 }, batch: true })
  async many(steps: readonly Step[]): Promise<void> {
    for (const step of steps) await this.take('many', step);
    this.failures += 1;
    if (this.failures % 5 === 0) throw new Error('now and then');
  }

  private async take(consumer: string, { key, n }: Step): Promise<void> {
    const tx = this.sql.requireCurrent('steps');
    await tx.execute('INSERT INTO step (consumer, key, n) VALUES ($1, $2, $3)', [consumer, key, n]);
  }
}

function strict(key: string, n: number): MessageEnvelope {
  lastId += 1;
  return {
    id: `01900000-0000-7000-8000-${String(lastId).padStart(12, '0')}`,
    topic: 'step',
    key,
    payload: JSON.stringify({ key, n }),
    headers: { 'Lockstep-Origin': 'mall', 'Lockstep-Sequence': `1700000000000.${n}` },
    publishedAt: 1_700_000_000_000,
  };
}

describe('Two applications that consume the strict messages of one queue', () => {
  const postgres = usePostgres();
  const redis = useRedis();
  const apps: TestingModule[] = [];

  const start = async (): Promise<TestingModule> => {
    const app = await Test.createTestingModule({
      imports: [
        LockstepModule.forRoot({ drainTimeout: '3s' }),
        SqlModule.forRoot({ driver: pgDriver({ url: postgres.url, maxConnections: 8 }), commandTimeout: '10s' }),
        OutboxModule.forRoot({
          origin: 'mall',
          store: postgresOutboxStore(),
          transport: bullmqTransport({ redis: { url: redis.url }, commandTimeout: '10s' }),
          sweepEvery: 100,
        }),
      ],
      providers: [Steps],
    }).compile();
    app.useLogger(false);
    apps.push(app);
    return app;
  };

  beforeAll(async () => {
    const [first, second] = [await start(), await start()];
    await first.get(Sql).execute('CREATE TABLE step (id serial, consumer text, key text, n int)');
    await first.init();
    await second.init();
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
  });

  it('let each key take effect in sequence, once, though deliveries are shuffled, doubled and fail', async () => {
    const [first] = apps as [TestingModule];
    const transport = first.get<MessageTransport>(MESSAGE_TRANSPORT);
    const random = seededRandom(seed());
    const messages = KEYS.flatMap((key) => Array.from({ length: MESSAGES }, (_, index) => strict(key, index + 1)));
    for (const consumer of ['one', 'many']) {
      const deliveries = random.shuffle([...messages, ...messages]);
      while (deliveries.length > 0) {
        await transport.publish({ topic: 'step', consumer }, deliveries.splice(0, random.integer(1, 6)));
      }
    }
    const all = Array.from({ length: MESSAGES }, (_, index) => index + 1);
    const takenBy = async (consumer: string, key: string) => {
      const text = 'SELECT n FROM step WHERE consumer = $1 AND key = $2 ORDER BY id';
      return (await first.get(Sql).query<Step>(text, [consumer, key])).map(({ n }) => n);
    };
    for (const consumer of ['one', 'many']) {
      for (const key of KEYS) {
        await eventually(async () => expect(await takenBy(consumer, key)).toEqual(all), PATIENT);
      }
    }
    expect(await first.get(DeadLetters).list()).toEqual([]);
  }, 60_000);
});
