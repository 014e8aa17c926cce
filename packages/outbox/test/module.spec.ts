import 'reflect-metadata';
import { inspect } from 'node:util';
import { ConfigurationError, type DriverProvider, Incidents } from '@lockstep/core';
import {
  DeadLetters,
  MemoryMessageTransport,
  type MessageTransport,
  OnMessage,
  type OnMessageOptions,
  OUTBOX_STORE,
  Outbox,
  type OutboxDecoratorOptions,
  OutboxModule,
  type OutboxModuleExtras,
  type OutboxModuleOptions,
  OutboxService,
  type OutboxStore,
  type TopicOptions,
} from '@lockstep/outbox';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Controller, Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OutboxApplication, type OutboxApplicationOptions, startOutbox } from './support/outbox-application.js';

const got: number[] = [];
let handling: (n: number) => Promise<void> = async () => undefined;

@Injectable()
class Points {
  @OnMessage('job', { consumer: 'points', attempts: 1 })
  async grant({ n }: { n: number }): Promise<void> {
    await handling(n);
    got.push(n);
  }
}

describe('OutboxModule', () => {
  const mall = usePostgres();
  const shop = usePostgres();
  const applications: OutboxApplication[] = [];
  let broker: MessageTransport;

  beforeEach(() => {
    got.length = 0;
    handling = async () => undefined;
    broker = new MemoryMessageTransport(new Incidents());
  });
  afterEach(async () => {
    const [last, ...others] = applications.splice(0);
    // One that is at work would wait for a table that TRUNCATE has, and have one that it wants.
    for (const { app } of others) await app.close();
    await last?.sql.execute(
      'TRUNCATE lockstep_outbox, lockstep_outbox_inflight, lockstep_outbox_dead, lockstep_outbox_subscription',
    );
    await last?.app.close();
    await broker.close();
  });

  /** One that outlives the application, as a broker does. */
  const shared = () => ({
    useFactory: (): MessageTransport => ({
      publish: (route, messages) => broker.publish(route, messages),
      consume: (route, handler, options) => broker.consume(route, handler, options),
      close: async () => undefined,
    }),
  });
  const start = async (options: Partial<OutboxApplicationOptions> = {}): Promise<OutboxApplication> => {
    const application = await startOutbox({ url: mall.url, transport: shared(), ...options });
    applications.push(application);
    return application;
  };
  const publish = ({ app, sql }: OutboxApplication, ...ns: number[]) =>
    sql.transaction(() => app.get(OutboxService).publishMany(ns.map((n) => ({ topic: 'job', body: { n } }))));
  const facts = ({ app }: OutboxApplication) => app.get<OutboxStore>(OUTBOX_STORE).operations.facts(4);

  it('acknowledges to the origin through the transport where the databases are not the same', async () => {
    const producer = await start({ topics: { job: { consumers: ['points'] } } });
    await start({ url: shop.url, origin: 'shop', providers: [Points] });
    await publish(producer, 1, 2);
    await eventually(async () => expect(await facts(producer)).toMatchObject({ pending: 0, inFlight: 0 }));
    expect(got.sort((a, b) => a - b)).toEqual([1, 2]);
  });

  it.each(['until-ack', 'on-accept'] as const)('brings a dead message home to its origin (%s)', async (durability) => {
    const producer = await start({ topics: { job: { consumers: ['points'], durability } } });
    await start({ url: shop.url, origin: 'shop', providers: [Points] });
    handling = () => Promise.reject(new Error('poison'));
    await publish(producer, 1);
    const letters = await eventually(async () => {
      const found = await producer.app.get(DeadLetters).list();
      expect(found).toHaveLength(1);
      return found;
    });
    expect(letters).toMatchObject([{ consumer: 'points', error: 'Error: poison', message: { payload: '{"n":1}' } }]);
    handling = async () => undefined;
    await producer.app.get(DeadLetters).replay(letters);
    await eventually(() => expect(got).toEqual([1]));
  });

  it('keeps the messages of a topic without a consumer, and delivers them when one starts', async () => {
    const producer = await start({ run: { consumers: false } });
    await publish(producer, 1, 2);
    await eventually(async () => expect(await facts(producer)).toMatchObject({ pending: 0, inFlight: 2 }));
    expect(producer.incidents.map(({ code }) => code)).toContain('OUTBOX_TOPIC_WITHOUT_CONSUMER');
    await start({ run: { relay: false }, providers: [Points] });
    await eventually(() => expect(got.sort((a, b) => a - b)).toEqual([1, 2]));
    await eventually(async () => expect(await facts(producer)).toMatchObject({ inFlight: 0 }));
  });

  it('delivers again what a transport lost with all that it held', async () => {
    const first = await start({ run: { consumers: false }, topics: { job: { consumers: ['points'] } } });
    await publish(first, 1, 2, 3);
    await eventually(async () => expect(await facts(first)).toMatchObject({ pending: 0, inFlight: 3 }));
    await broker.close();
    await start({ run: { relay: false }, providers: [Points] });
    await eventually(() => expect(got.sort((a, b) => a - b)).toEqual([1, 2, 3]));
    await eventually(async () => expect(await facts(first)).toMatchObject({ inFlight: 0 }));
  });

  it('starts while its transport is down, and consumes when it is back', async () => {
    let isDown = true;
    const transport = {
      useFactory: (): MessageTransport => ({
        publish: (route, messages) => broker.publish(route, messages),
        consume: (...of) => (isDown ? Promise.reject(new Error('down')) : broker.consume(...of)),
        close: async () => undefined,
      }),
    };
    const application = await start({ transport, providers: [Points] });
    await publish(application, 1);
    await eventually(() => expect(application.incidents.map(({ code }) => code)).toContain('OUTBOX_START_DELAYED'));
    isDown = false;
    await eventually(() => expect(got).toEqual([1]));
  });

  it('relays also what was written when there were more shards', async () => {
    const before = await start({ shards: 64, run: { relay: false, consumers: false } });
    await publish(before, ...Array.from({ length: 64 }, (_, n) => n));
    await start({ shards: 2, providers: [Points] });
    await eventually(() => expect(got).toHaveLength(64));
  });

  it('finishes what runs before it ends, and starts nothing new', async () => {
    const progress: string[] = [];
    const transport = {
      useFactory: (): MessageTransport => ({
        publish: (route, messages) => broker.publish(route, messages),
        consume: async (...of) => {
          const subscription = await broker.consume(...of);
          return {
            close: async (signal) => {
              progress.push('draining');
              await subscription.close(signal);
            },
          };
        },
        close: async () => undefined,
      }),
    };
    const application = await start({ transport, providers: [Points] });
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    handling = () => {
      progress.push('running');
      return held;
    };
    await publish(application, 1);
    await eventually(() => expect(progress).toEqual(['running']));
    applications.length = 0;
    const closed = application.app.close().then(() => progress.push('closed'));
    await eventually(() => expect(progress).toContain('draining'));
    expect(progress).not.toContain('closed');
    release();
    await closed;
    expect(got).toEqual([1]);
  });

  it.each<[string, Partial<OutboxModuleOptions & OutboxModuleExtras>]>([
    ['origin', { origin: 'The Mall' }],
    ['durability', { durability: 'forever' as 'until-ack' }],
    ['shards', { shards: 0 }],
    ['batchSize', { batchSize: 1.5 }],
    ['maxMessageBytes', { maxMessageBytes: 3 }],
    ['leaseTtl', { leaseTtl: '2s', sweepEvery: '1s' }],
    ['redeliverAtMost', { redeliverAfter: '30s', redeliverAtMost: '1s' }],
    ['topics', { topics: { 'lockstep.ack': {} } }],
    ['topics.job.consumers', { topics: { job: { consumers: ['A B'] } } }],
    ['topics.job.consumers', { topics: { job: { consumers: 'x' as unknown as string[] } } }],
    ['topics.job.consumer', { topics: { job: { consumer: ['x'] } as TopicOptions } }],
    ['topics.job', { topics: { job: null as unknown as TopicOptions } }],
    ['topics', { topics: 5 as unknown as Record<string, TopicOptions> }],
    ['run', { run: null as unknown as NonNullable<OutboxModuleOptions['run']> }],
    ['run.relay', { run: { relay: 'no' as unknown as boolean } }],
    ['run.consumer', { run: { consumer: false } as NonNullable<OutboxModuleOptions['run']> }],
    ['OutboxModule.redeliverAfer', { redeliverAfer: '1s' } as Partial<OutboxModuleOptions>],
    ['store', { store: {} as DriverProvider<OutboxStore> }],
    ['transport', { transport: null as unknown as DriverProvider<MessageTransport> }],
  ])('refuses a wrong %s at boot, and names it', async (option, options) => {
    const attempt = startOutbox({ url: mall.url, transport: shared(), ...options });
    await expect(attempt).rejects.toThrow(ConfigurationError);
    await expect(attempt).rejects.toThrow(`'${option}'`);
  });

  it.each([undefined, null, 'mall'])('refuses %s for its options, and says so', async (options) => {
    const given = options as unknown as OutboxModuleOptions;
    expect(() => OutboxModule.forRoot(given)).toThrow(/Option 'OutboxModule options' is/);
    const later = OutboxModule.forRootAsync({ useFactory: () => given });
    const sql = SqlModule.forRoot({ driver: pgDriver({ url: mall.url }) });
    const attempt = Test.createTestingModule({ imports: [sql, later] }).compile();
    await expect(attempt).rejects.toThrow(/Option 'OutboxModule options' is/);
  });

  it('takes its options also from a factory, beside drivers that are given at once', async () => {
    const module = OutboxModule.forRootAsync({ transport: shared(), useFactory: () => ({ origin: 'Not A Name' }) });
    const sql = SqlModule.forRoot({ driver: pgDriver({ url: mall.url }) });
    const attempt = Test.createTestingModule({ imports: [sql, module] }).compile();
    await expect(attempt).rejects.toThrow("Option 'origin' is 'Not A Name'");
  });

  it.each(['store', 'transport', 'wakeUp'])(
    'does not start with a %s that the factory gives, which would leave the one in memory',
    async (driver) => {
      const useFactory = () => ({ origin: 'mall', [driver]: shared() });
      const sql = SqlModule.forRoot({ driver: pgDriver({ url: mall.url }) });
      const attempt = Test.createTestingModule({ imports: [sql, OutboxModule.forRootAsync({ useFactory })] }).compile();
      await expect(attempt).rejects.toThrow(ConfigurationError);
      await expect(attempt).rejects.toThrow(`'${driver}' belongs beside useFactory`);
    },
  );

  it('does not start without a database module', async () => {
    const attempt = Test.createTestingModule({ imports: [OutboxModule.forRoot({ origin: 'mall' })] }).compile();
    await expect(attempt).rejects.toThrow(/Sql/);
  });

  it.each<[string, () => unknown]>([
    ['topic', () => OnMessage('Job', { consumer: 'a' })],
    ['consumer', () => OnMessage('job', { consumer: 'a b' })],
    ['options', () => OnMessage('job', undefined as unknown as OnMessageOptions)],
    ['options.attempt', () => OnMessage('job', { consumer: 'a', attempt: 3 } as OnMessageOptions)],
    ['backoff.atmost', () => OnMessage('job', { consumer: 'a', backoff: { atmost: '1s' } as object })],
    ['backoff.first', () => OnMessage('job', { consumer: 'a', backoff: { first: '25h' } })],
    ['backoff.atMost', () => OnMessage('job', { consumer: 'a', backoff: { atMost: '25h' } })],
    ['attempts', () => OnMessage('job', { consumer: 'a', attempts: 0 })],
    ['concurrency', () => OnMessage('job', { consumer: 'a', concurrency: -1 })],
  ])('refuses a wrong %s of @OnMessage where it is written', (option, decorate) => {
    expect(decorate).toThrow(`@OnMessage ${option}`);
  });

  it.each<[string, object]>([
    ['options.dealy', { dealy: '5m' }],
    ['options.headers', { headers: { a: 'b' } }],
    ['options.tx', { tx: {} }],
    ['options', null as unknown as object],
    ['delay', { delay: 'soon' }],
    ['delay', { delay: '367d' }],
    ['ordered', { ordered: 'strictly' }],
    ['key', { ordered: 'strict' }],
    ['delay', { ordered: 'strict', key: () => 'k', delay: '1s' }],
    ['callback', { callback: 'Order Done' }],
    ['callback', { callback: 'lockstep.ack' }],
    ['key', { key: 'id' }],
  ])('refuses a wrong %s of @Outbox where it is written', (option, options) => {
    const decorate = () => Outbox('job', options as OutboxDecoratorOptions<number>);
    expect(decorate).toThrow(ConfigurationError);
    expect(decorate).toThrow(`@Outbox ${option}`);
  });

  it('takes what @Outbox may be given', () => {
    const key = () => 'k';
    Outbox('job');
    Outbox('job', { key, body: () => 1, ordered: 'strict', callback: 'job.done' });
    Outbox('job', { key, ordered: 'best-effort', delay: '5m' });
  });

  it('refuses @OnMessage where nobody could call the method', () => {
    const decorate = OnMessage('job', { consumer: 'a' });
    const descriptor = { value: async () => undefined };
    expect(() => decorate(class {}, 'grant', descriptor)).toThrow(/belongs on a method of an instance; grant is none/);
    expect(() => decorate({}, 'grant', undefined as unknown as typeof descriptor)).toThrow(/grant is none/);
  });

  it('does not start where a handler would never be called, and says what is missing', async () => {
    class Base {
      @OnMessage('job', { consumer: 'base' })
      async grant(): Promise<void> {}
    }
    @Injectable()
    class Derived extends Base {}
    @Controller()
    class Api extends Base {}
    for (const metadata of [{ providers: [Points] }, { providers: [Derived] }, { controllers: [Api] }]) {
      const attempt = Test.createTestingModule(metadata).compile();
      await expect(attempt).rejects.toThrow(/can't resolve dependencies.*@OnMessage needs OutboxModule\.forRoot/s);
    }
  });

  it('shows nothing on the instances of a class with handlers, in two applications and without any', async () => {
    await start({ providers: [Points] });
    const { app } = await start({ url: shop.url, providers: [Points] });
    for (const points of [app.get(Points), new Points()]) {
      expect(Object.keys(points)).toEqual([]);
      expect(inspect(points)).not.toContain('Outbox');
      await points.grant({ n: 5 });
    }
    expect(got).toEqual([5, 5]);
  });
});
