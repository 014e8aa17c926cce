import 'reflect-metadata';
import { ConfigurationError, CoreModule } from '@lockstep/core';
import {
  BestEffortNotify,
  NOTIFICATION_STORE,
  NotificationsModule,
  type NotificationsModuleOptions,
  NotificationsService,
  newWebhookSecret,
  WebhookReceiver,
  type WebhookReceiverOptions,
} from '@lockstep/outbox/notifications';
import { Sql, SqlModule, Transactional } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { usePostgres } from '@lockstep/testing/vitest';
import { Controller, Injectable, type ModuleMetadata, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { AttemptSchedule } from '../../src/notifications/delivery/attempt-schedule.js';
import { judge } from '../../src/notifications/delivery/verdict.js';
import { resolveNotificationsOptions } from '../../src/notifications/notifications.options.js';

const SECRET = newWebhookSecret();

describe('NotificationsModule', () => {
  const postgres = usePostgres();
  const apps: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const app of apps.splice(0)) await app.close();
  });

  const boot = async (imports: ModuleMetadata['imports'], rest: Omit<ModuleMetadata, 'imports'> = {}) => {
    const sql = SqlModule.forRoot({ driver: pgDriver({ url: postgres.url, maxConnections: 2 }) });
    const app = await Test.createTestingModule({ imports: [CoreModule, sql, ...(imports ?? [])], ...rest })
      .setLogger(false as never)
      .compile();
    apps.push(app);
    return app.init();
  };

  it('keeps notifications in memory by default, and sends what is committed', async () => {
    const app = await boot([
      NotificationsModule.forRoot({
        secrets: [SECRET],
        schedule: [0],
        targets: { resolve: async () => [{ address: '10.0.0.1', family: 4 }] },
      }),
    ]);
    const notifications = app.get(NotificationsService);
    const id = await app
      .get(Sql)
      .transaction(() => notifications.send({ url: 'https://partner.example/', type: 't', data: {} }));
    await expect
      .poll(() => notifications.find(id), { timeout: 4_000 })
      .toMatchObject({
        state: 'exhausted',
        reason: expect.stringContaining('none of the public internet'),
        attempts: [{ status: undefined }],
      });
  });

  it('takes its options later, and its store and route at once', async () => {
    const store = {
      useFactory: () => ({ operations: { facts: async () => 'mine' }, lanes: async () => [] }) as never,
    };
    const app = await boot([
      NotificationsModule.forRootAsync({
        store,
        query: { path: 'a/b' },
        useFactory: () => ({ run: { worker: false } }),
      }),
    ]);
    expect(await app.get(NotificationsService).facts()).toBe('mine');
    expect(app.get(NOTIFICATION_STORE)).toBeDefined();
  });

  it('does not start with a store that comes with the options, nor with one that is none', async () => {
    const late = NotificationsModule.forRootAsync({ useFactory: () => ({ store: {} }) as never });
    await expect(boot([late])).rejects.toThrow("'NotificationsModule.store' is not known");
    expect(() => NotificationsModule.forRoot({ store: {} as never })).toThrow("'store'");
    for (const path of ['/a', 'a/', '', ':id', '*']) {
      expect(() => NotificationsModule.forRoot({ query: { path } }), path).toThrow("'query.path'");
    }
  });

  it('does not start where a decorated method has no module, or stands outside of its transaction', async () => {
    @Injectable()
    class Orders {
      @BestEffortNotify({ endpoint: 'shop', type: 't' })
      async ship(): Promise<number> {
        return 1;
      }
    }
    @Injectable()
    class Reversed {
      @BestEffortNotify({ endpoint: 'shop', type: 't' })
      @Transactional()
      async ship(): Promise<number> {
        return 1;
      }
    }
    await expect(boot([], { providers: [Orders] })).rejects.toThrow('NotificationsModule');
    await expect(boot([NotificationsModule.forRoot({})], { providers: [Reversed] })).rejects.toThrow(
      ConfigurationError,
    );
  });

  it('does not start where a receiver of webhooks has no module, and says which is needed', async () => {
    @Controller()
    class Hooks {
      @Post()
      @WebhookReceiver({ name: 'shop', secrets: [SECRET] })
      async receive(): Promise<void> {}
    }
    await expect(boot([], { controllers: [Hooks] })).rejects.toThrow(/@WebhookReceiver needs NotificationsModule/);
  });

  it('does not start with two receivers of one name, nor with a receipt that is forgotten while it still counts', async () => {
    const controller = (options: WebhookReceiverOptions) => {
      @Controller()
      class Hooks {
        @Post()
        @WebhookReceiver(options)
        async receive(): Promise<void> {}
      }
      return Hooks;
    };
    const one = { name: 'shop', secrets: [SECRET] };
    const module = () => NotificationsModule.forRoot({ run: { worker: false }, receiptRetention: '15m' });
    const twice = boot([module()], { controllers: [controller(one), controller(one)] });
    await expect(twice).rejects.toThrow("Two methods are @WebhookReceiver({ name: 'shop' })");
    const long = boot([module()], { controllers: [controller({ ...one, tolerance: '8m' })] });
    await expect(long).rejects.toThrow('receiptRetention');
    await boot([module()], { controllers: [controller(one)] });
  });

  it.each<[option: string, options: object]>([
    ['secrets', { secrets: 'whsec_' }],
    ['secrets[0]', { secrets: ['whsec_short'] }],
    ['secrets', { secrets: Array(6).fill(SECRET) }],
    ['run.wroker', { run: { wroker: false } }],
    ['run.worker', { run: { worker: 'no' } }],
    ['schedule', { schedule: [] }],
    ['schedule', { schedule: Array(51).fill(0) }],
    ['schedule[1]', { schedule: [0, 'soon'] }],
    ['jitter', { jitter: 2 }],
    ['timeout', { timeout: 10 }],
    ['leaseTtl', { timeout: '30s', leaseTtl: '40s' }],
    ['concurrency', { concurrency: 0 }],
    ['concurrencyPerEndpoint', { concurrency: 2, concurrencyPerEndpoint: 3 }],
    ['sweepEvery', { sweepEvery: 1 }],
    ['retryAfterAtMost', { retryAfterAtMost: 'a while' }],
    ['disableAfter', { disableAfter: 0 }],
    ['maxBodyBytes', { maxBodyBytes: 1.5 }],
    ['retention', { retention: 0 }],
    ['targets.port', { targets: { port: 443 } }],
    ['targets.ports', { targets: { ports: [0] } }],
    ['targets.ports', { targets: { ports: 443 } }],
    ['targets.allow', { targets: { allow: ['not a host'] } }],
    ['targets.allow', { targets: { allow: '10.0.0.0/8' } }],
    ['targets.resolve', { targets: { resolve: 'dns' } }],
    ['NotificationsModule.retries', { retries: 3 }],
  ])('refuses a wrong %s, naming it and no secret', (option, options) => {
    const resolve = () => resolveNotificationsOptions(options as NotificationsModuleOptions);
    expect(resolve).toThrow(`'${option}'`);
    expect(resolve).not.toThrow(SECRET);
  });

  it('has the defaults of Standard Webhooks, frozen', () => {
    const options = resolveNotificationsOptions({});
    expect(Object.isFrozen(options)).toBe(true);
    expect(options.scheduleMs.map((ms) => ms / 1_000)).toEqual([
      0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400,
    ]);
    expect(options).toMatchObject({ timeoutMs: 15_000, leaseTtlMs: 30_000, disableAfterMs: 5 * 86_400_000 });
    expect([...(options.targets.ports ?? [])]).toEqual([443]);
    expect(options.targets.allowHttp).toBe(false);
  });

  it.each<[what: string, options: object]>([
    ['no name', { secrets: [SECRET] }],
    ['no secrets', { name: 'shop' }],
    ['an empty list', { name: 'shop', secrets: [] }],
    ['both', { name: 'shop', secrets: [SECRET], secretsOf: () => undefined }],
    ['a secret that is none', { name: 'shop', secrets: ['whsec_x'] }],
    ['a mistyped name', { name: 'shop', secrets: [SECRET], tolerence: '1m' }],
    ['no tolerance', { name: 'shop', secrets: [SECRET], tolerance: 0 }],
  ])('refuses @WebhookReceiver with %s', (_what, options) => {
    expect(() => WebhookReceiver(options as WebhookReceiverOptions)).toThrow(ConfigurationError);
  });

  it.each<[what: string, options: object]>([
    ['no target', { type: 't' }],
    ['two targets', { type: 't', endpoint: 'a', url: 'https://a.example' }],
    ['no type', { endpoint: 'a' }],
    ['a type that is no text', { type: () => 't', endpoint: 'a' }],
    ['an empty type', { type: '', endpoint: 'a' }],
    ['a type with a space', { type: 'order shipped', endpoint: 'a' }],
    ['a body that is none', { type: 't', endpoint: 'a', body: 'x' }],
    ['a mistyped name', { type: 't', endpoint: 'a', bodi: () => 1 }],
  ])('refuses @BestEffortNotify with %s', (_what, options) => {
    expect(() => BestEffortNotify(options as never)).toThrow(ConfigurationError);
  });
});

describe('The rules', () => {
  const NOW = Date.parse('2026-01-01T00:00:00Z');
  const rules = { throttlePauseMs: 5_000, retryAfterAtMostMs: 3_600_000 };
  const THROTTLED = (pauseMs: number) => ({ kind: 'throttled', pauseMs });

  it.each<[status: number, retryAfter: string | undefined, verdict: object]>([
    [200, undefined, { kind: 'delivered' }],
    [204, undefined, { kind: 'delivered' }],
    [299, undefined, { kind: 'delivered' }],
    [199, undefined, { kind: 'failed' }],
    [300, undefined, { kind: 'failed' }],
    [301, undefined, { kind: 'failed' }],
    [307, undefined, { kind: 'failed' }],
    [401, undefined, { kind: 'failed' }],
    [404, undefined, { kind: 'failed' }],
    [410, undefined, { kind: 'gone' }],
    [500, '60', { kind: 'failed' }],
    [501, undefined, { kind: 'failed' }],
    [429, undefined, THROTTLED(5_000)],
    [429, '60', THROTTLED(60_000)],
    [429, '0', THROTTLED(0)],
    [502, ' 7 ', THROTTLED(7_000)],
    [503, '999999', THROTTLED(3_600_000)],
    [503, '99999999999', THROTTLED(5_000)],
    [503, 'Thu, 01 Jan 2026 00:01:00 GMT', THROTTLED(60_000)],
    [503, 'Thu, 01 Jan 2026 09:00:00 GMT', THROTTLED(3_600_000)],
    [504, 'Wed, 31 Dec 2025 00:00:00 GMT', THROTTLED(0)],
    [504, 'soon', THROTTLED(5_000)],
    [504, '-1', THROTTLED(5_000)],
    [504, '1.5', THROTTLED(5_000)],
  ])('judge %i with Retry-After %s', (status, retryAfter, verdict) => {
    expect(judge({ status, retryAfter }, NOW, rules)).toEqual(verdict);
  });

  it('give a pause that is never shorter than the schedule says, and longer by the jitter at most', () => {
    const schedule = new AttemptSchedule([0, 1_000], 0.5);
    expect(schedule.attempts).toBe(2);
    expect(schedule.pauseBefore(1)).toBe(0);
    const pauses = Array.from({ length: 200 }, () => schedule.pauseBefore(2) ?? 0);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(1_000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(1_500);
    expect(new Set(pauses).size).toBeGreaterThan(10);
    expect(schedule.pauseBefore(3)).toBeUndefined();
  });
});
