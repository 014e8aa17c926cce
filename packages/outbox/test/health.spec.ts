import 'reflect-metadata';
import { StoreUnavailableError } from '@lockstep/core';
import {
  OUTBOX_STORE,
  type OutboxFacts,
  OutboxHealth,
  OutboxService,
  type OutboxStore,
  TransactionalMessages,
} from '@lockstep/outbox';
import { eventually, startFaultProxy } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { metrics } from '@opentelemetry/api';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import pg from 'pg';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type OutboxApplication, type OutboxApplicationOptions, startOutbox } from './support/outbox-application.js';

const NOTHING: OutboxFacts = {
  oldestPendingMs: 0,
  oldestInFlightMs: 0,
  oldestParkedMs: 0,
  oldestDueMs: 0,
  pending: 0,
  delayed: 0,
  inFlight: 0,
  dead: 0,
};
const MINUTE = 60_000;

describe('Health of the outbox', () => {
  let facts: () => OutboxFacts;
  const health = () => {
    const store = { operations: { facts: async () => facts() } } as unknown as OutboxStore;
    return new OutboxHealth(store, { shards: 4, unhealthyAfterMs: 5 * MINUTE });
  };
  /** What `check` says once a minute. */
  const minutes = async (count: number, each: (minute: number) => Partial<OutboxFacts>) => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const checked = health();
      const said: string[] = [];
      for (let minute = 0; minute < count; minute += 1) {
        facts = () => ({ ...NOTHING, ...each(minute) });
        said.push((await checked.check()).status);
        vi.advanceTimersByTime(MINUTE);
      }
      return said;
    } finally {
      vi.useRealTimers();
    }
  };
  const DOWN_AFTER_FIVE = ['up', 'up', 'up', 'up', 'up', 'down', 'down', 'down'];

  it('is down when the relay has stopped and what waits only grows, in number and in age', async () => {
    const said = await minutes(8, (minute) => ({ oldestPendingMs: minute * MINUTE + 1, pending: 10 + minute }));
    expect(said).toEqual(DOWN_AFTER_FIVE);
  });

  it('is down for a backlog of days that nobody works on, once it was looked at for long enough', async () => {
    const days = 9 * 24 * 60 * MINUTE;
    const said = await minutes(8, (minute) => ({ oldestPendingMs: days + minute * MINUTE, pending: 10_000 }));
    expect(said).toEqual(DOWN_AFTER_FIVE);
  });

  it('is up for a long backlog that is being worked off, though its age does not fall and its number is not known', async () => {
    const said = await minutes(30, () => ({ oldestPendingMs: 60 * MINUTE, pending: 10_000 }));
    expect(new Set(said)).toEqual(new Set(['up']));
  });

  it('is up while the oldest one stays and the others get fewer', async () => {
    const said = await minutes(12, (minute) => ({ oldestInFlightMs: (60 + minute) * MINUTE, inFlight: 500 - minute }));
    expect(new Set(said)).toEqual(new Set(['up']));
  });

  it('is down when consumers acknowledge nothing while the relay goes on', async () => {
    const said = await minutes(8, (minute) => ({
      oldestPendingMs: 5,
      pending: 3,
      oldestInFlightMs: minute * MINUTE + 1,
      inFlight: minute * 100,
    }));
    expect(said).toEqual(DOWN_AFTER_FIVE);
  });

  it('is up again as soon as something leaves', async () => {
    const said = await minutes(8, (minute) => ({
      oldestPendingMs: (60 + minute) * MINUTE,
      pending: minute < 6 ? 700 : 600,
    }));
    expect(said).toEqual(['up', 'up', 'up', 'up', 'up', 'down', 'up', 'up']);
  });

  it('counts every way in which a message can be stuck into the oldest age', async () => {
    const ages = ['oldestPendingMs', 'oldestInFlightMs', 'oldestParkedMs', 'oldestDueMs'] as const;
    const oldest = (of: Partial<OutboxFacts>, oldestPreparedMs = 0) => {
      const operations = { facts: async () => ({ ...NOTHING, ...of }) };
      const prepared = { facts: async () => ({ prepared: 0, undecided: 0, oldestPreparedMs }) };
      const store = { operations, prepared } as unknown as OutboxStore;
      return new OutboxHealth(store, { shards: 4, unhealthyAfterMs: MINUTE }).oldestAgeMs();
    };
    for (const age of ages) expect(await oldest({ [age]: 7 })).toBe(7);
    expect(await oldest({ oldestDueMs: 2 }, 9)).toBe(9);
  });

  it('is down with a reason when the store does not answer, and says nothing of facts it does not have', async () => {
    facts = () => {
      throw new StoreUnavailableError({ store: 'postgres', operation: 'facts', outcome: 'not-applied' });
    };
    expect(await health().check()).toEqual({ status: 'down', reason: expect.stringContaining('postgres') });
  });
});

describe('Health and metrics of a running outbox', () => {
  const postgres = usePostgres();
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    metrics.disable();
    for (const end of ends.splice(0).reverse()) await end();
    const db = new pg.Client(postgres.url);
    await db.connect();
    await db.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    await db.end();
  });

  const start = async (options: Partial<OutboxApplicationOptions> = {}): Promise<OutboxApplication> => {
    const application = await startOutbox({ url: postgres.url, ...options });
    ends.push(() => application.app.close());
    return application;
  };
  const publish = ({ app, sql }: OutboxApplication, count: number, delay = 0) =>
    sql.transaction(() =>
      app
        .get(OutboxService)
        .publishMany(Array.from({ length: count }, (_, n) => ({ topic: 'job', body: { n }, delay }))),
    );
  const register = () => {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
    ends.push(() => reader.shutdown());
    return async (): Promise<ReadonlyMap<string, MetricData>> => {
      exporter.reset();
      await reader.forceFlush();
      const all = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics));
      return new Map(all.map((metric) => [metric.descriptor.name, metric]));
    };
  };
  const valuesOf = (metric: MetricData | undefined) =>
    Object.fromEntries(
      (metric?.dataPoints ?? []).map(({ attributes, value }) => [attributes['lockstep.outbox.state'], value]),
    );

  it('shows age and depth by state, also to an SDK that was registered after the start', async () => {
    const mall = await start();
    const collect = register();
    await publish(mall, 3);
    await publish(mall, 2, 60_000);
    await eventually(async () => {
      const [row] = await mall.sql.query<{ n: number }>('SELECT count(*)::int AS n FROM lockstep_outbox_inflight');
      expect(row?.n).toBe(3);
    });
    const collected = await collect();
    const age = collected.get('lockstep.outbox.oldest_age');
    expect(age?.descriptor.unit).toBe('s');
    expect(valuesOf(age)).toMatchObject({ pending: 0, due: 0, in_flight: 0 });
    expect(valuesOf(age).parked).toBeGreaterThan(0);
    expect(valuesOf(collected.get('lockstep.outbox.depth'))).toMatchObject({
      pending: 0,
      in_flight: 3,
      delayed: 2,
      dead: 0,
    });
  });

  it('shows how many half messages nobody has decided about, for how long, and how many are parked', async () => {
    const mall = await start();
    const collect = register();
    await publish(mall, 1);
    const messages = mall.app.get(TransactionalMessages);
    messages.registerCheck('Bank.paid', async () => 'unknown');
    const prepare = async () => {
      const lost = new Error('lost');
      let id = '';
      const attempt = messages.run({ topic: 'job', body: {}, check: 'Bank.paid' }, async (half) => {
        id = half.id;
        throw lost;
      });
      await expect(attempt).rejects.toBe(lost);
      return id;
    };
    for (let n = 0; n < 2; n += 1) await prepare();
    await mall.app.get<OutboxStore>(OUTBOX_STORE).prepared.park(await prepare());
    const collected = await collect();
    expect(valuesOf(collected.get('lockstep.outbox.depth'))).toMatchObject({ prepared: 2, undecided: 1 });
    expect(valuesOf(collected.get('lockstep.outbox.oldest_age')).prepared).toBeGreaterThan(0);
  });

  it('asks the store once, however many collect, and not at all where no relay runs', async () => {
    const relaying = await start();
    const asked = vi.spyOn(relaying.app.get(OutboxHealth), 'facts');
    const web = await start({ run: { relay: false, consumers: false } });
    const askedWeb = vi.spyOn(web.app.get(OutboxHealth), 'facts');
    const collect = register();
    await publish(relaying, 1);
    for (let time = 0; time < 5; time += 1) await collect();
    expect(asked).toHaveBeenCalledTimes(1);
    expect(askedWeb).not.toHaveBeenCalled();
  });

  it('reports that the store does not answer, and shows nothing then', async () => {
    const proxy = await startFaultProxy({ target: postgres.url });
    const mall = await start({ url: proxy.urlFor(postgres.url) });
    const collect = register();
    await publish(mall, 1);
    ends.push(() => proxy.stop());
    proxy.refuse();
    proxy.cut();
    const collected = await collect();
    expect(collected.get('lockstep.outbox.oldest_age')?.dataPoints ?? []).toEqual([]);
    expect(mall.incidents.map(({ code }) => code)).toContain('OUTBOX_METRICS_FAILED');
    await proxy.heal();
  });

  it('notes how large batches are and how long messages waited to be relayed, by the clock of the store', async () => {
    const collect = register();
    const web = await start({ run: { relay: false, consumers: false } });
    await publish(web, 5);
    await eventually(async () => {
      const [row] = await web.sql.query<{ old: number }>(
        "SELECT count(*)::int AS old FROM lockstep_outbox WHERE published_at < clock_timestamp() - interval '150 ms'",
      );
      expect(row?.old).toBe(5);
    });
    await start({ topics: { job: { consumers: ['elsewhere'] } }, redeliverAfter: '60s', redeliverAtMost: '60s' });
    await eventually(async () => {
      const collected = await collect();
      const [sizes] = collected.get('lockstep.outbox.batch_size')?.dataPoints ?? [];
      expect(sizes?.value).toMatchObject({ sum: 5 });
      const [ages] = collected.get('lockstep.outbox.relay.duration')?.dataPoints ?? [];
      expect(ages?.value).toMatchObject({ count: 5 });
      const { min = 0, max = 0 } = Object(ages?.value) as { readonly min?: number; readonly max?: number };
      expect(min).toBeGreaterThanOrEqual(0.15);
      expect(max).toBeLessThan(30);
    });
  });

  it('is down when no relay works on what is old, and up when one does', async () => {
    const web = await start({ run: { relay: false, consumers: false }, unhealthyAfter: '1s' });
    await publish(web, 20);
    const health = web.app.get(OutboxHealth);
    await eventually(async () => {
      expect(await health.check()).toMatchObject({
        status: 'down',
        reason: expect.stringMatching(/^the oldest message that no relay has taken is \d s old, and none has left/),
        facts: { pending: 20 },
      });
    });
    await start();
    await eventually(async () => expect(await health.check()).toMatchObject({ status: 'up' }));
  });
});
