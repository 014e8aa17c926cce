import 'reflect-metadata';
import { bullmqTransport } from '@lockstep/bullmq';
import { LockstepModule } from '@lockstep/core';
import { DeadLetters, MessageRefusedError, OnMessage, OutboxModule, OutboxService } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** `HELD_UP=1000` shows how long a thousand take. */
const WAITING = Number(process.env.HELD_UP ?? 100);
/** So that the pauses of those that wait have grown. */
const HELD_UP_MS = 3_000;
const PATIENT = { timeoutMs: 240_000, intervalMs: 100 };

interface Step {
  readonly n: number;
}

@Injectable()
class Steps {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('held-up', { consumer: 'steps', attempts: 1 })
  async take({ n }: Step): Promise<void> {
    if (n === 0) throw new MessageRefusedError('for an operator to skip');
    await this.sql.requireCurrent('steps').execute('INSERT INTO held_up (n) VALUES ($1)', [n]);
  }
}

describe('A strict key that was held up by a dead letter', () => {
  const postgres = usePostgres();
  const redis = useRedis();
  const apps: TestingModule[] = [];

  const start = async (relay: boolean): Promise<TestingModule> => {
    const app = await Test.createTestingModule({
      imports: [
        LockstepModule.forRoot({ drainTimeout: '3s' }),
        SqlModule.forRoot({ driver: pgDriver({ url: postgres.url, maxConnections: 8 }), commandTimeout: '10s' }),
        OutboxModule.forRoot({
          origin: 'mall',
          store: postgresOutboxStore(),
          transport: bullmqTransport({ redis: { url: redis.url }, namespace: 'held-up', commandTimeout: '10s' }),
          sweepEvery: 100,
          run: { relay },
        }),
      ],
      providers: [Steps],
    }).compile();
    app.useLogger(false);
    apps.push(app);
    return app;
  };

  beforeAll(async () => {
    const [first, second] = [await start(true), await start(false)];
    await first.get(Sql).execute('CREATE TABLE held_up (id serial, n int)');
    await first.init();
    await second.init();
  }, 60_000);
  afterAll(async () => {
    for (const app of apps) await app.close();
  });

  it('goes on by itself and in its order, at two consumers, once that was skipped', async () => {
    const [first] = apps as [TestingModule];
    const [sql, outbox, letters] = [first.get(Sql), first.get(OutboxService), first.get(DeadLetters)];
    for (let n = 0; n <= WAITING; n += 1) {
      await sql.transaction(() => outbox.publish('held-up', { n }, { key: 'k', ordered: 'strict' }));
    }
    const publishedAt = performance.now();
    const dead = await eventually(async () => {
      const blocking = await letters.blocking();
      expect(blocking).toHaveLength(1);
      expect(performance.now() - publishedAt).toBeGreaterThan(HELD_UP_MS);
      return blocking;
    }, PATIENT);
    const skippedAt = performance.now();
    expect(await letters.skip(dead)).toBe(1);
    await eventually(async () => {
      const [row] = await sql.query<{ n: number }>('SELECT count(*)::int AS n FROM held_up');
      expect(row?.n).toBe(WAITING);
    }, PATIENT);
    console.log(`${WAITING} in ${Math.round(performance.now() - skippedAt)} ms`);
    const rows = await sql.query<Step>('SELECT n FROM held_up ORDER BY id');
    expect(rows.map(({ n }) => n)).toEqual(Array.from({ length: WAITING }, (_, index) => index + 1));
  }, 300_000);
});
