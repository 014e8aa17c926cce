import 'reflect-metadata';
import { LockstepModule } from '@lockstep/core';
import {
  NOTIFICATION_STORE,
  type NotificationStore,
  NotificationsModule,
  newWebhookSecret,
  signedHeaders,
  WebhookReceiver,
} from '@lockstep/outbox/notifications';
import { postgresNotificationStore } from '@lockstep/outbox/notifications/postgres';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import {
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  ForbiddenException,
  HttpCode,
  type INestApplication,
  Inject,
  ParseIntPipe,
  Post,
  UseGuards,
} from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

const SECRET = newWebhookSecret();
const OLD_SECRET = newWebhookSecret();
const TENANTS: Readonly<Record<string, string>> = { a: newWebhookSecret(), b: newWebhookSecret() };

let handling: () => Promise<void> = async () => undefined;
const order: string[] = [];

class ClosedGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    order.push('guard');
    if (context.switchToHttp().getRequest<{ headers: Record<string, string> }>().headers['x-closed']) {
      throw new ForbiddenException();
    }
    return true;
  }
}

@Controller('hooks')
class Hooks {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @Post('shop')
  @HttpCode(204)
  @UseGuards(ClosedGuard)
  @WebhookReceiver({ name: 'shop', secrets: [SECRET, OLD_SECRET] })
  async shop(@Body('n', ParseIntPipe) n: number): Promise<void> {
    order.push('handler');
    const tx = this.sql.requireCurrent('a webhook');
    await tx.execute('INSERT INTO effects (n) VALUES ($1)', [n]);
    await handling();
  }

  @Post('tenants')
  @WebhookReceiver({
    name: 'tenants',
    secretsOf: ({ headers }) => {
      const sender = String(headers['x-tenant']);
      const secret = TENANTS[sender];
      return secret === undefined ? undefined : { sender, secrets: [secret] };
    },
  })
  async tenants(@Body('n') n: number): Promise<{ n: number } | undefined> {
    await this.sql.requireCurrent('a webhook').execute('INSERT INTO effects (n) VALUES ($1)', [n]);
    return { n };
  }
}

describe.each(['express', 'fastify'] as const)('Receiving webhooks on %s', (platform) => {
  const postgres = usePostgres();
  let app: INestApplication;
  let url: string;
  let sql: Sql;

  const start = async (rawBody: boolean): Promise<INestApplication> => {
    const module = await Test.createTestingModule({
      imports: [
        LockstepModule.forRoot({ drainTimeout: '2s' }),
        SqlModule.forRoot({ driver: pgDriver({ url: postgres.url, maxConnections: 4 }), commandTimeout: '5s' }),
        NotificationsModule.forRoot({ store: postgresNotificationStore(), query: { path: 'notifications' } }),
      ],
      controllers: [Hooks],
    }).compile();
    const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
    const created = module.createNestApplication(adapter as ExpressAdapter, { rawBody, logger: false });
    await created.listen(0, '127.0.0.1');
    return created;
  };

  beforeAll(async () => {
    app = await start(true);
    url = await app.getUrl();
    sql = app.get(Sql);
    await sql.execute('CREATE TABLE effects (n integer NOT NULL)');
  });
  afterAll(() => app.close());
  beforeEach(async () => {
    handling = async () => undefined;
    order.length = 0;
    await sql.execute('TRUNCATE effects, lockstep_webhook_receipt');
  });

  const effects = async () => (await sql.query<{ n: number }>('SELECT n FROM effects ORDER BY n')).map(({ n }) => n);
  const seconds = (offset = 0) => Math.floor(Date.now() / 1_000) + offset;
  const BODY = '{"n": 1,  "text":"ü\\u00e9"}';
  interface Sent {
    readonly id?: string;
    readonly secret?: string;
    readonly at?: number;
    readonly body?: string;
    readonly headers?: Record<string, string>;
    readonly path?: string;
    readonly base?: string;
  }
  const post = ({ id = 'msg_1', secret = SECRET, at = seconds(), body = BODY, ...rest }: Sent = {}) =>
    fetch(`${rest.base ?? url}/hooks/${rest.path ?? 'shop'}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...signedHeaders({ id, timestamp: at, body: BODY }, [secret]),
        ...rest.headers,
      },
      body,
    });

  it('runs the handler once for a webhook, in a transaction, however often it comes', async () => {
    const answers = [await post(), await post(), await post({ at: seconds(5) })];
    expect(answers.map(({ status }) => status)).toEqual([204, 204, 204]);
    expect(await effects()).toEqual([1]);
    expect((await post({ id: 'msg_2' })).status).toBe(204);
    expect(await effects()).toEqual([1, 1]);
  });

  it('takes what the official library signs, with the old secret too', async () => {
    for (const [index, secret] of [SECRET, OLD_SECRET].entries()) {
      const now = new Date();
      const headers = {
        'webhook-id': `official_${index}`,
        'webhook-timestamp': String(Math.floor(now.getTime() / 1_000)),
        'webhook-signature': new Webhook(secret).sign(`official_${index}`, now, BODY),
      };
      expect((await post({ headers })).status).toBe(204);
    }
    expect(await effects()).toEqual([1, 1]);
  });

  it.each<[what: string, sent: Sent]>([
    ['another body', { body: BODY.replace('1', '2') }],
    ['the same body in other words', { body: JSON.stringify(JSON.parse(BODY)) }],
    ['another secret', { secret: newWebhookSecret() }],
    ['another id', { headers: { 'webhook-id': 'msg_2' } }],
    ['another time', { headers: { 'webhook-timestamp': String(Math.floor(Date.now() / 1_000) + 7) } }],
    ['an old time', { at: Math.floor(Date.now() / 1_000) - 400 }],
    ['a time to come', { at: Math.floor(Date.now() / 1_000) + 400 }],
    ['no signature', { headers: { 'webhook-signature': '' } }],
    ['a signature of another kind', { headers: { 'webhook-signature': 'v1a,c2lnbmVk' } }],
    ['a body of another kind', { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'n=1' }],
  ])('refuses %s without saying which part is wrong, and before pipes and handler', async (_what, sent) => {
    const response = await post(sent);
    const isUnread = platform === 'fastify' && sent.headers?.['content-type'] !== undefined;
    if (isUnread && response.status === 415) return;
    expect(response.status).toBe(401);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(await response.json()).toEqual({
      type: 'about:blank',
      title: 'The request cannot be accepted as it is',
      status: 401,
      detail: 'The request is not signed as it must be.',
      code: 'WEBHOOK_UNVERIFIED',
      kind: 'conflict',
      retryable: false,
    });
    expect(order).not.toContain('handler');
    expect(await effects()).toEqual([]);
  });

  it('lets a webhook come again whose handler failed: nothing of it, nor its receipt, was kept', async () => {
    handling = () => Promise.reject(new Error('no'));
    expect((await post()).status).toBe(500);
    expect(await effects()).toEqual([]);
    handling = async () => undefined;
    expect((await post()).status).toBe(204);
    expect(await effects()).toEqual([1]);
  });

  it('runs guards before it and pipes after it, and keeps no receipt of what either refuses', async () => {
    expect((await post({ headers: { 'x-closed': '1' } })).status).toBe(403);
    const body = '{"n":"many"}';
    const headers = signedHeaders({ id: 'msg_1', timestamp: seconds(), body }, [SECRET]);
    expect((await post({ body, headers })).status).toBe(400);
    expect((await post()).status).toBe(204);
    expect(order).toEqual(['guard', 'guard', 'guard', 'handler']);
    expect(await effects()).toEqual([1]);
  });

  it('asks for patience where a copy is being handled, instead of waiting with a connection', async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    handling = () => gate;
    const first = post();
    await eventually(() => expect(order).toContain('handler'));
    const copies = await Promise.all([post(), post(), post()]);
    expect(copies.map(({ status }) => status)).toEqual([409, 409, 409]);
    expect(copies[0]?.headers.get('retry-after')).toBe('5');
    release();
    expect((await first).status).toBe(204);
    expect((await post()).status).toBe(204);
    expect(await effects()).toEqual([1]);
  });

  it('finds the secrets by the request, and keeps the ids of two senders apart', async () => {
    const from = (tenant: string, secret = TENANTS[tenant] ?? SECRET) =>
      post({ path: 'tenants', secret, headers: { 'x-tenant': tenant } });
    const first = await from('a');
    expect([first.status, await first.json()]).toEqual([201, { n: 1 }]);
    const copy = await from('a');
    expect([copy.status, await copy.text()]).toEqual([201, '']);
    expect((await from('b')).status).toBe(201);
    expect((await from('a', TENANTS.b)).status).toBe(401);
    expect((await from('nobody')).status).toBe(401);
    expect(await effects()).toEqual([1, 1]);
  });

  it('judges the time by the clock of the database, however wrong its own one is', async () => {
    const [now, late] = [seconds(), seconds(-400)];
    vi.useFakeTimers({ toFake: ['Date'], now: (now - 400) * 1_000 });
    try {
      expect((await post({ at: now })).status).toBe(204);
      expect((await post({ at: late, id: 'msg_2' })).status).toBe(401);
    } finally {
      vi.useRealTimers();
    }
  });

  it('asks the database for its time again before it refuses what is signed: its clock may have been set', async () => {
    expect((await post({ id: 'msg_0' })).status).toBe(204);
    const { operations } = app.get<NotificationStore>(NOTIFICATION_STORE);
    const real = operations.clockMs.bind(operations);
    const clock = vi.spyOn(operations, 'clockMs').mockImplementation(async () => (await real()) + 400_000);
    expect((await post({ id: 'msg_1', at: seconds(400), secret: newWebhookSecret() })).status).toBe(401);
    expect(clock).not.toHaveBeenCalled();
    expect((await post({ id: 'msg_1', at: seconds(400) })).status).toBe(204);
    expect((await post({ id: 'msg_2', at: seconds() })).status).toBe(401);
    clock.mockRestore();
    expect((await post({ id: 'msg_2', at: seconds() })).status).toBe(204);
  });

  it('says what to do where the application keeps no raw bodies', async () => {
    const without = await start(false);
    const logged: unknown[] = [];
    without.useLogger({
      log: () => undefined,
      warn: () => undefined,
      error: (text: unknown) => void logged.push(text),
    });
    const response = await post({ base: await without.getUrl() });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('rawBody');
    expect(String(logged[0])).toContain('{ rawBody: true }');
    await without.close();
  });

  describe('The question of a partner', () => {
    const ask = (id: string, secret: string, signedId = id, at = seconds()) =>
      fetch(`${url}/notifications/${id}`, {
        headers: signedHeaders({ id: signedId, timestamp: at, body: '' }, [secret]),
      });

    it('is answered for a notification of his own, and for nothing else', async () => {
      await sql.execute('DELETE FROM lockstep_notification');
      const insert = (id: string, endpoint: string) =>
        sql.execute(
          `INSERT INTO lockstep_notification (id, endpoint_id, type, body, state, due_at, finished_at, log)
           VALUES ($1, $2, 'order.shipped', '{}', 'exhausted', now(), now(), $3)`,
          [
            id,
            endpoint,
            '[{"at":1767225600000,"durationMs":5,"status":500},{"at":1767225601000,"durationMs":5,"error":"10.0.0.1"}]',
          ],
        );
      await sql.execute('DELETE FROM lockstep_notification_endpoint');
      for (const [id, secret] of [
        ['shop', SECRET],
        ['bank', OLD_SECRET],
      ]) {
        await sql.execute(
          `INSERT INTO lockstep_notification_endpoint (id, url, secrets, version) VALUES ($1, 'https://x.example/', $2, 1)`,
          [id, JSON.stringify([{ secret }])],
        );
      }
      await insert('msg_1', 'shop');
      const { endpoints } = app.get<NotificationStore>(NOTIFICATION_STORE);
      const looks = vi.spyOn(endpoints, 'find');
      expect((await ask('msg_nobody', SECRET)).status).toBe(401);
      expect(looks).toHaveBeenCalledTimes(1);
      looks.mockRestore();
      const answer = await ask('msg_1', SECRET);
      expect(answer.status).toBe(200);
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(await answer.json()).toEqual({
        id: 'msg_1',
        type: 'order.shipped',
        state: 'exhausted',
        createdAt: expect.any(String),
        finishedAt: expect.any(String),
        nextAttemptAt: null,
        attempts: [
          { at: '2026-01-01T00:00:00.000Z', status: 500 },
          { at: '2026-01-01T00:00:01.000Z', status: null },
        ],
      });
      const refused = [
        await ask('msg_1', OLD_SECRET),
        await ask('msg_2', SECRET),
        await ask('msg_1', SECRET, 'msg_2'),
        await ask('msg_1', SECRET, 'msg_1', seconds(-400)),
        await fetch(`${url}/notifications/msg_1`),
      ];
      expect(refused.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401]);
      expect(new Set(await Promise.all(refused.map((response) => response.text()))).size).toBe(1);
    });
  });
});
