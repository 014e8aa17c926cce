import 'reflect-metadata';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { contextTelemetry } from '@lockstep/bullmq';
import { ContextCarriers, type Incident, Incidents, Keyring, LockstepModule, RequestContext } from '@lockstep/core';
import { OnMessage, OutboxModule, OutboxService } from '@lockstep/outbox';
import { postgresOutboxStore } from '@lockstep/outbox/postgres';
import { CurrentSession, SessionModule, type SessionRef } from '@lockstep/session';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually } from '@lockstep/testing';
import { usePostgres, useRedis } from '@lockstep/testing/vitest';
import { BullModule, getQueueToken, InjectFlowProducer, InjectQueue, Processor, WorkerHost } from '@nestjs/bullmq';
import { Body, Controller, type INestApplication, Inject, Module, Param, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type FlowProducer, type Job, Queue } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const redis = useRedis();
const postgres = usePostgres();
const KEYS = { current: 'a', keys: { a: 'a secret of thirty-two bytes or more' } };
const MAILS = 'mails';
const LISTS = 'lists';

interface Mail {
  readonly text: string;
  readonly fail?: number;
}

/** What ran, for whom. */
const seen: string[] = [];
const incidents: Incident[] = [];
let opened: { close(): Promise<unknown> }[] = [];
beforeEach(() => {
  seen.length = 0;
  incidents.length = 0;
});
afterEach(async () => {
  const closing = opened;
  opened = [];
  await Promise.all(closing.map((it) => it.close()));
});

function note(what: string): void {
  seen.push(`${what} for ${RequestContext.current()?.principal?.id ?? 'nobody'}`);
}

@Controller()
class LoginController {
  @Post('login/:id')
  async login(@CurrentSession() session: SessionRef, @Param('id') id: string): Promise<object> {
    await session.login({ id });
    return {};
  }
}

class Browser {
  private cookie = '';

  constructor(private readonly app: INestApplication) {}

  async post(path: string, body: unknown = {}): Promise<void> {
    const url = await this.app.getUrl();
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(this.cookie && { cookie: this.cookie }) },
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(201);
    for (const line of response.headers.getSetCookie()) this.cookie = line.split(';')[0] ?? '';
  }
}

async function start(module: Parameters<typeof Module>[0]): Promise<INestApplication> {
  class App {}
  Module({
    ...module,
    controllers: [LoginController, ...(module.controllers ?? [])],
    imports: [
      LockstepModule.forRoot({ keyring: KEYS }),
      SessionModule.forRoot({ keys: KEYS }),
      ...(module.imports ?? []),
    ],
  })(App);
  const app = await NestFactory.create(App, { logger: false, abortOnError: false });
  opened.push(app);
  app.get(Incidents).subscribe((incident) => incidents.push(incident));
  await app.listen(0, '127.0.0.1');
  return app;
}

async function loggedIn(app: INestApplication, id: string): Promise<Browser> {
  const browser = new Browser(app);
  await browser.post(`/login/${id}`);
  return browser;
}

describe('a message of the outbox', () => {
  @Controller()
  class OrderController {
    constructor(
      @Inject(Sql) private readonly sql: Sql,
      @Inject(OutboxService) private readonly outbox: OutboxService,
    ) {}

    @Post('orders/:id')
    async order(@Param('id') id: string): Promise<object> {
      return this.sql.transaction(async () => ({ message: await this.outbox.publish('orders.made', { id }) }));
    }
  }

  class Mailer {
    @OnMessage('orders.made', { consumer: 'mailer' })
    async mail(order: { id: string }): Promise<void> {
      await new Promise((resolve) => setImmediate(resolve));
      note(`order ${order.id}`);
    }
  }

  async function startShop(): Promise<INestApplication> {
    return start({
      controllers: [OrderController],
      providers: [Mailer],
      imports: [
        SqlModule.forRoot({ driver: pgDriver({ url: postgres.url }) }),
        OutboxModule.forRoot({ store: postgresOutboxStore(), origin: 'shop', sweepEvery: 50 }),
      ],
    });
  }

  it('is handled for the user of the session whose request published it', async () => {
    const app = await startShop();
    const users = ['alice', 'bob', 'carol'];
    const browsers = await Promise.all(users.map((id) => loggedIn(app, id)));
    await Promise.all([...browsers, new Browser(app)].map((browser, index) => browser.post(`/orders/${index}`)));
    const expected = ['order 0 for alice', 'order 1 for bob', 'order 2 for carol', 'order 3 for nobody'];
    await eventually(() => expect(seen.toSorted()).toEqual(expected), { timeoutMs: 15_000 });
    expect(incidents).toEqual([]);
  });

  it('that names a user without proof is handled for nobody, which is reported', async () => {
    const app = await startShop();
    const forger = { name: 'forger', inject: (headers: object) => Object.assign(headers, forged()), run: passed };
    app.get(ContextCarriers).register(forger);
    await (await loggedIn(app, 'alice')).post('/orders/forged');
    await eventually(() => expect(seen).toEqual(['order forged for nobody']), { timeoutMs: 15_000 });
    expect(incidents.map(({ code }) => code)).toContain('PRINCIPAL_NOT_PROVEN');
  });
});

describe('a job of @nestjs/bullmq', () => {
  @Controller()
  class MailController {
    constructor(
      @InjectQueue(MAILS) private readonly mails: Queue,
      @InjectFlowProducer('flows') private readonly flows: FlowProducer,
    ) {}

    @Post('mails')
    async add(@Body() mail: Mail): Promise<object> {
      await new Promise((resolve) => setImmediate(resolve));
      const job = await this.mails.add('mail', mail, { attempts: 3, backoff: mail.fail === 2 ? 10 : 0 });
      return { id: job.id };
    }

    @Post('bulk')
    async bulk(@Body() mails: Record<string, Mail>): Promise<object> {
      await this.mails.addBulk(Object.values(mails).map((data) => ({ name: 'mail', data })));
      return {};
    }

    @Post('flow')
    async flow(@Body() mail: Mail): Promise<object> {
      const children = [1, 2].map((part) => ({
        name: 'part',
        queueName: MAILS,
        data: { text: `part ${part}` },
        opts: {},
      }));
      await this.flows.add({ name: 'list', queueName: LISTS, data: mail, opts: {}, children });
      return {};
    }

    @Post('schedule')
    async schedule(@Body() mail: Mail): Promise<object> {
      await this.mails.upsertJobScheduler('digest', { every: 50, limit: 4 }, { name: 'mail', data: mail });
      return {};
    }
  }

  @Processor(MAILS, { concurrency: 2 })
  class Mails extends WorkerHost {
    constructor(@InjectQueue(LISTS) private readonly lists: Queue) {
      super();
    }

    async process(job: Job<Mail>): Promise<void> {
      await new Promise((resolve) => setImmediate(resolve));
      note(job.data.text);
      if (job.data.text === 'follow-up') await this.lists.add('list', { text: 'followed' });
      const context = RequestContext.current();
      // What a processor does to its context is no concern of the next attempt.
      if (context && job.data.fail) context.principal = { id: 'somebody else' };
      if (job.attemptsMade < (job.data.fail ?? 0)) throw new Error('not yet');
    }
  }

  @Processor(LISTS)
  class Lists extends WorkerHost {
    async process(job: Job<Mail>): Promise<void> {
      await nextTurn();
      note(job.data.text);
    }
  }

  function connection(): { host: string; port: number } {
    const { hostname: host, port } = new URL(redis.url);
    return { host, port: Number(port) };
  }

  async function startMails(): Promise<INestApplication> {
    return start({
      controllers: [MailController],
      providers: [Mails, Lists],
      imports: [
        BullModule.forRootAsync({
          inject: [ContextCarriers],
          useFactory: (carriers: ContextCarriers) => ({
            connection: connection(),
            prefix: redis.prefix,
            telemetry: contextTelemetry(carriers),
          }),
        }),
        BullModule.registerQueue({ name: MAILS }, { name: LISTS }),
        BullModule.registerFlowProducer({ name: 'flows' }),
      ],
    });
  }

  const sorted = (...lines: string[]): Promise<void> =>
    eventually(() => expect(seen.toSorted()).toEqual(lines.toSorted()), { timeoutMs: 15_000 });

  it('is processed for the user of the session whose request added it, one by one and in bulk', async () => {
    const app = await startMails();
    const [alice, bob] = [await loggedIn(app, 'alice'), await loggedIn(app, 'bob')];
    await Promise.all([
      alice.post('/mails', { text: 'a' }),
      bob.post('/mails', { text: 'b' }),
      new Browser(app).post('/mails', { text: 'c' }),
      bob.post('/bulk', { one: { text: 'd' }, two: { text: 'e' } }),
    ]);
    await sorted('a for alice', 'b for bob', 'c for nobody', 'd for bob', 'e for bob');
  });

  it('keeps its user over retries, at once and put off, whatever its processor does to the context', async () => {
    const app = await startMails();
    await (await loggedIn(app, 'alice')).post('/mails', { text: 'now', fail: 1 });
    await (await loggedIn(app, 'bob')).post('/mails', { text: 'later', fail: 2 });
    await sorted(
      ...Array.from({ length: 2 }, () => 'now for alice'),
      ...Array.from({ length: 3 }, () => 'later for bob'),
    );
  });

  it('hands its user on to the jobs that its processor adds, and to the parts of a flow', async () => {
    const app = await startMails();
    await (await loggedIn(app, 'alice')).post('/mails', { text: 'follow-up' });
    await (await loggedIn(app, 'bob')).post('/flow', { text: 'whole' });
    await sorted('follow-up for alice', 'followed for alice', 'part 1 for bob', 'part 2 for bob', 'whole for bob');
  });

  it('of a scheduler is processed for the user who set it up, each time', async () => {
    const app = await startMails();
    await (await loggedIn(app, 'alice')).post('/schedule', { text: 'digest' });
    await sorted(...Array.from({ length: 4 }, () => 'digest for alice'));
  });

  it('that a scheduler made before there was a context does not get the user of the job before it', async () => {
    const plain = new Queue(LISTS, { connection: connection(), prefix: redis.prefix });
    opened.push(plain);
    const queue = (await startMails()).get<Queue>(getQueueToken(LISTS));
    const alice = new RequestContext();
    alice.principal = { id: 'alice' };
    await queue.pause();
    const hers = Array.from({ length: 8 }, () => ({ name: 'list', data: { text: 'hers' } }));
    await RequestContext.run(alice, () => queue.addBulk(hers));
    await plain.upsertJobScheduler('old', { every: 30, limit: 6 }, { name: 'list', data: { text: 'old' } });
    await queue.resume();
    // The worker fetches the next job, and adds the one after it, where it has just ended hers.
    await eventually(() => expect(seen).toHaveLength(14), { timeoutMs: 15_000 });
    expect(new Set(seen)).toEqual(new Set(['hers for alice', 'old for nobody']));
  });

  it('whose user was tampered with is processed for nobody, which is reported', async () => {
    const plain = new Queue(MAILS, { connection: connection(), prefix: redis.prefix });
    opened.push(plain);
    await startMails();
    const forms = [JSON.stringify({ lockstep: forged() }), 'no json', '{"lockstep":7}', '[]', 'null', '"text"'];
    await plain.addBulk(
      forms.map((metadata, index) => ({ name: 'mail', data: { text: `${index}` }, opts: { telemetry: { metadata } } })),
    );
    await plain.add('mail', { text: 'plain' });
    await sorted(...forms.map((_, index) => `${index} for nobody`), 'plain for nobody');
    expect(incidents.map(({ code }) => code)).toEqual(['PRINCIPAL_NOT_PROVEN']);
  });
});

/** Of somebody who knows everything but the secret. */
function forged(): Record<string, string> {
  const principal = Buffer.from(JSON.stringify({ id: 'mallory' })).toString('base64url');
  const keyring = new Keyring({ current: 'a', keys: { a: 'another secret of thirty-two bytes' } });
  return { 'Lockstep-Principal': principal, 'Lockstep-Principal-Signature': keyring.sign('principal', principal) };
}

function passed<T>(_headers: object, fn: () => T): T {
  return fn();
}
