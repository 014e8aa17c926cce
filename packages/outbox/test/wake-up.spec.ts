import 'reflect-metadata';
import { type DriverProvider, monotonicMs } from '@lockstep/core';
import { OnMessage, OutboxService, RELAY_SIGNAL, type RelaySignal } from '@lockstep/outbox';
import { postgresRelaySignal } from '@lockstep/outbox/postgres';
import { redisRelaySignal } from '@lockstep/outbox/redis';
import { RedisConnection, RedisModule } from '@lockstep/redis';
import { Sql } from '@lockstep/sql';
import { eventually, startFaultProxy } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OutboxApplication, type OutboxApplicationOptions, startOutbox } from './support/outbox-application.js';
import { SharedTransport } from './support/shared-transport.js';

@Injectable()
class Effects {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('job', { consumer: 'effects' })
  async effect({ n }: { n: number }): Promise<void> {
    await this.sql.requireCurrent('effect').execute('INSERT INTO effect (n) VALUES ($1)', [n]);
  }
}

// So slow that whatever arrives soon was not found by it.
const SLOW_SWEEP = { sweepEvery: '30s', leaseTtl: '90s', redeliverAfter: '60s', redeliverAtMost: '60s' } as const;
const SOON_MS = 5_000;

describe('Waking relays', () => {
  const postgres = usePostgres();
  const redis = useRedis();
  const applications: OutboxApplication[] = [];
  let transport: SharedTransport;

  beforeEach(() => {
    transport = new SharedTransport();
  });
  afterEach(async () => {
    const [first] = applications;
    await first?.sql.execute('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    for (const { app } of applications.splice(0)) await app.close();
    await transport.broker.close();
  });

  const start = async (options: Partial<OutboxApplicationOptions>): Promise<OutboxApplication> => {
    const application = await startOutbox({
      url: postgres.url,
      transport: transport.provider,
      prepare: async (sql) => {
        await sql.execute(
          'CREATE TABLE IF NOT EXISTS effect (n int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())',
        );
      },
      ...SLOW_SWEEP,
      ...options,
    });
    applications.push(application);
    return application;
  };
  const redisModule = (url = redis.url) => RedisModule.forRoot({ url, namespace: 'wake-up' });
  const relay = (options: Partial<OutboxApplicationOptions> = {}) => start({ providers: [Effects], ...options });
  const web = (options: Partial<OutboxApplicationOptions> = {}) =>
    start({ run: { relay: false, consumers: false }, ...options });
  const publish = ({ app, sql }: OutboxApplication, ns: readonly number[], delay = 0) =>
    sql.transaction(() => app.get(OutboxService).publishMany(ns.map((n) => ({ topic: 'job', body: { n }, delay }))));
  const untilEffects = ({ sql }: OutboxApplication, count: number, timeoutMs = SOON_MS) =>
    eventually(
      async () => {
        const rows = await sql.query<{ n: number }>('SELECT n FROM effect ORDER BY n');
        expect(rows).toHaveLength(count);
        return rows.map(({ n }) => n);
      },
      { timeoutMs },
    );
  /** All shards are owned and have been looked at: from now on the relay has to be woken. */
  const untilSettled = async (application: OutboxApplication) => {
    await eventually(async () => {
      const [row] = await application.sql.query<{ owned: number }>(
        "SELECT count(*)::int AS owned FROM lockstep_lease WHERE name LIKE 'outbox:%'",
      );
      expect(row?.owned).toBe(4);
    });
  };

  const signals: [string, () => Partial<OutboxApplicationOptions>][] = [
    ['Redis', () => ({ wakeUp: redisRelaySignal(), imports: [redisModule()] })],
    ['Postgres', () => ({ wakeUp: postgresRelaySignal() })],
  ];

  describe.each(signals)('by %s', (_, signal) => {
    it('lets a commit in a process without a relay be relayed by another one long before it looks by itself', async () => {
      const relaying = await relay(signal());
      const publishing = await web(signal());
      await untilSettled(relaying);
      await publish(publishing, [0]);
      await untilEffects(relaying, 1);
      const startedAt = monotonicMs();
      for (const n of [1, 2, 3, 4, 5]) {
        await publish(publishing, [n]);
        await untilEffects(relaying, n + 1);
      }
      expect(monotonicMs() - startedAt).toBeLessThan(SOON_MS);
    });

    it('tells a relay elsewhere of a delay that ends before it looks by itself', async () => {
      const relaying = await relay(signal());
      const publishing = await web(signal());
      await untilSettled(relaying);
      await publish(publishing, [1], 300);
      await untilEffects(relaying, 1);
    });

    it('lets the relay that promotes a delayed message wake the one that owns its shard', async () => {
      const owner = await relay(signal());
      await untilSettled(owner);
      const other = await relay({ ...signal(), run: { relay: true, consumers: false } });
      await publish(other, [1, 2, 3, 4], 100);
      await untilEffects(owner, 4);
    });
  });

  it('sends announcements that follow each other closely as one, and loses none', async () => {
    const publishing = await web(signals[0]?.[1]());
    const heard: string[] = [];
    const leave = await publishing.app
      .get(RedisConnection)
      .subscribe('wake-up:outbox-wake:{mall}', (text) => heard.push(text.split(' ')[1] ?? ''));
    const signal = publishing.app.get<RelaySignal>(RELAY_SIGNAL);
    for (let n = 0; n < 1_000; n += 1) signal.announce([n % 4]);
    await eventually(() => expect(heard).toEqual(['0', '1,2,3,0']));
    await leave();
  });

  it('announces nothing where the relay of the same process owns the shard', async () => {
    const announced: number[] = [];
    const wakeUp: DriverProvider<RelaySignal> = {
      useFactory: () => ({
        announce: (shards) => void announced.push(...shards),
        subscribe: async () => async () => undefined,
      }),
    };
    const both = await relay({ wakeUp });
    await untilSettled(both);
    await publish(both, [1, 2, 3]);
    await untilEffects(both, 3);
    expect(announced).toEqual([]);
  });

  it('loses nothing when announcements are lost, and reports that they are', async () => {
    const proxy = await startFaultProxy({ target: redis.url });
    try {
      const quick = { sweepEvery: 200, leaseTtl: 1_000 } as const;
      const relaying = await relay({ ...signals[0]?.[1](), ...quick });
      const imports = [redisModule(proxy.urlFor(redis.url))];
      const publishing = await web({ wakeUp: redisRelaySignal(), imports });
      proxy.refuse();
      proxy.cut();
      await publish(publishing, [1, 2, 3]);
      expect(await untilEffects(relaying, 3)).toEqual([1, 2, 3]);
      await eventually(() => expect(publishing.incidents.map(({ code }) => code)).toContain('OUTBOX_SIGNAL_FAILED'));
    } finally {
      await proxy.heal();
      for (const { app } of applications.splice(1)) await app.close();
      await proxy.stop();
    }
  });

  it('delivers a delayed message when it is due by the clock of the server, never earlier and soon after', async () => {
    const mall = await relay();
    await untilSettled(mall);
    for (const delay of [150, 700, 400]) await publish(mall, [delay], delay);
    const dues = await mall.sql.query<{ n: number; due: string }>(
      `SELECT (payload::json ->> 'n')::int AS n, extract(epoch FROM due_at) * 1000 AS due FROM lockstep_outbox_delayed`,
    );
    await untilEffects(mall, 3);
    const rows = await mall.sql.query<{ n: number; at: string }>(
      'SELECT n, extract(epoch FROM at) * 1000 AS at FROM effect ORDER BY at',
    );
    expect(rows.map(({ n }) => n)).toEqual([150, 400, 700]);
    for (const { n, due } of dues) {
      const lateMs = Number(rows.find((row) => row.n === n)?.at) - Number(due);
      expect(lateMs).toBeGreaterThanOrEqual(0);
      // The machine may be busy; without the timer it would be 30 s.
      expect(lateMs).toBeLessThan(1_000);
    }
  });

  it('delivers what became due while no relay was running', async () => {
    const publishing = await web();
    await publish(publishing, [1, 2], 50);
    await eventually(async () => {
      const [row] = await publishing.sql.query<{ due: number }>(
        'SELECT count(*)::int AS due FROM lockstep_outbox_delayed WHERE due_at < clock_timestamp()',
      );
      expect(row?.due).toBe(2);
    });
    expect(await untilEffects(await relay(), 2)).toEqual([1, 2]);
  });

  it('promotes more than a batch of messages that are due at once without waiting in between', async () => {
    const mall = await relay({ batchSize: 4 });
    await untilSettled(mall);
    const ns = Array.from({ length: 30 }, (_, n) => n);
    await publish(mall, ns, 100);
    expect(await untilEffects(mall, 30)).toEqual(ns);
  });
});
