import 'reflect-metadata';
import {
  ConfigurationError,
  type ContextCarrier,
  ContextCarriers,
  LockstepError,
  RequestContext,
  StoreUnavailableError,
} from '@lockstep/core';
import {
  type DeadLetterId,
  DeadLetters,
  MESSAGE_TRANSPORT,
  type Message,
  MessageRefusedError,
  type MessageTransport,
  OnMessage,
  OUTBOX_STORE,
  OutboxHealth,
  OutboxService,
  type OutboxStore,
} from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import {
  BadRequestException,
  type CallHandler,
  type CanActivate,
  Catch,
  type ExceptionFilter,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  type PipeTransform,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

const seen: string[] = [];
const SHORT = { first: 10, atMost: 20 } as const;

interface Job {
  readonly n: number;
}

class SeeGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    seen.push(`guard ${context.getType<string>()} ${context.getHandler().name}`);
    return true;
  }
}

class CheckPipe implements PipeTransform {
  transform(value: unknown, { type }: { type: string }): unknown {
    if (type !== 'body') return value;
    if (typeof (value as Job).n !== 'number') throw new BadRequestException('n is no number');
    return { ...(value as Job), checked: true };
  }
}

class SeeInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler) {
    seen.push('interceptor');
    return next.handle();
  }
}

/** Returns something, as many filters do: the message must not pass for done because of it. */
@Catch()
class ForgivingFilter implements ExceptionFilter {
  catch(error: unknown): unknown {
    seen.push(`filter ${(error as Error).message}`);
    return { forgiven: true };
  }
}

@Injectable()
class Consumers {
  fail: (n: number) => unknown = () => undefined;
  readonly contexts: (string | undefined)[] = [];

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @OnMessage('job', { consumer: 'effects', attempts: 3, backoff: SHORT })
  async effect({ n }: Job, message: Message): Promise<void> {
    const tx = this.sql.requireCurrent('the effect');
    await tx.execute('INSERT INTO effect (n, message_id) VALUES ($1, $2)', [n, message.id]);
    this.contexts.push(carried);
    const failure = this.fail(n);
    if (failure) throw failure;
    expect(RequestContext.current()).toBeDefined();
  }

  @OnMessage('nest', { consumer: 'nest', attempts: 2, backoff: SHORT })
  @UseGuards(SeeGuard)
  @UsePipes(CheckPipe)
  @UseInterceptors(SeeInterceptor)
  @UseFilters(ForgivingFilter)
  async nest(body: Job & { checked?: boolean }): Promise<void> {
    seen.push(`handler ${body.n} ${body.checked}`);
    await this.sql.requireCurrent('nest').execute('INSERT INTO effect (n) VALUES ($1)', [body.n]);
    if (body.n < 0) throw new Error('negative');
  }
}

function trapped(): object {
  const trap = () => {
    throw new Error('trap');
  };
  return new Proxy({}, { get: trap, has: trap, getPrototypeOf: trap, ownKeys: trap });
}

function unreadable(): Error {
  return Object.defineProperty(new Error(), 'message', {
    get() {
      throw Object.create(null);
    },
  });
}

let carried: string | undefined;
const tenant: ContextCarrier = {
  name: 'tenant',
  inject: (headers) => {
    headers['X-Tenant'] = 'acme';
  },
  run: (headers, fn) => {
    carried = headers['X-Tenant'];
    return fn();
  },
};

describe('Consuming', () => {
  const postgres = usePostgres();
  let application: OutboxApplication;
  let sql: Sql;
  let outbox: OutboxService;
  let store: OutboxStore;
  let transport: MessageTransport;
  let consumers: Consumers;
  let deadLetters: DeadLetters;

  beforeAll(async () => {
    application = await startOutbox({
      url: postgres.url,
      providers: [Consumers],
      topics: { quick: { durability: 'on-accept' } },
      prepare: async (db) => void (await db.execute('CREATE TABLE effect (n int, message_id uuid)')),
    });
    const { app } = application;
    ({ sql } = application);
    [outbox, deadLetters, consumers] = [app.get(OutboxService), app.get(DeadLetters), app.get(Consumers)];
    [store, transport] = [app.get(OUTBOX_STORE), app.get(MESSAGE_TRANSPORT)];
    app.get(ContextCarriers).register(tenant);
  });
  afterAll(() => application.app.close());
  beforeEach(async () => {
    consumers.fail = () => undefined;
    seen.length = 0;
    await eventually(async () => expect(await inFlight()).toBe(0));
    await sql.execute('TRUNCATE effect, lockstep_outbox_dead');
  });

  const publish = (topic: string, ...bodies: unknown[]) =>
    sql.transaction(async () => outbox.publishMany(bodies.map((body) => ({ topic, body }))));
  const jobs = (...ns: number[]) => publish('job', ...ns.map((n) => ({ n })));
  const effects = async () => (await sql.query<{ n: number }>('SELECT n FROM effect ORDER BY n')).map(({ n }) => n);
  const inFlight = async () => {
    const facts = await store.operations.facts(4);
    return facts.pending + facts.inFlight;
  };
  const untilAcknowledged = () => eventually(async () => expect(await inFlight()).toBe(0));

  it('lets a committed message take effect once, in the transaction of its inbox row, and acknowledges it', async () => {
    await jobs(1, 2, 3);
    await eventually(async () => expect(await effects()).toEqual([1, 2, 3]));
    await untilAcknowledged();
    const [row] = await sql.query<{ count: number }>(
      'SELECT count(*)::int FROM lockstep_inbox i JOIN effect USING (message_id)',
    );
    expect(row).toEqual({ count: 3 });
  });

  it('recognises copies, and acknowledges them as well', async () => {
    const [id = ''] = await jobs(7);
    await untilAcknowledged();
    const message = {
      id,
      topic: 'job',
      key: undefined,
      payload: '{"n":7}',
      headers: { 'Lockstep-Origin': 'mall' },
      publishedAt: 0,
    };
    const settle = vi.spyOn(store, 'settle');
    await transport.publish({ topic: 'job', consumer: 'effects' }, [message]);
    const acknowledged = [{ outcome: 'acknowledged', consumer: 'effects', messageId: id }];
    await eventually(() => expect(settle).toHaveBeenCalledWith(acknowledged));
    settle.mockRestore();
    expect(await effects()).toEqual([7]);
  });

  it('acknowledges by re-delivery what it could not acknowledge at first', async () => {
    const settle = vi.spyOn(store, 'settle').mockRejectedValueOnce(new Error('the acknowledgement is lost'));
    await jobs(1);
    await eventually(() => expect(application.incidents.map(({ code }) => code)).toContain('OUTBOX_ACK_FAILED'));
    await untilAcknowledged();
    expect(settle.mock.calls.length).toBeGreaterThanOrEqual(2);
    settle.mockRestore();
    expect(await effects()).toEqual([1]);
  });

  it('undoes what a failing handler did, and tries again', async () => {
    let failures = 2;
    consumers.fail = () => (failures-- > 0 ? new Error('not yet') : undefined);
    await jobs(1);
    await untilAcknowledged();
    expect(await effects()).toEqual([1]);
    expect(failures).toBe(-1);
  });

  it('gives up what always fails, alone, and delivers it anew on replay', async () => {
    consumers.fail = (n) => (n === 3 ? new Error('poison') : undefined);
    await jobs(1, 2, 3, 4, 5);
    const [letter] = await eventually(async () => {
      const letters = await deadLetters.list();
      expect(letters).toHaveLength(1);
      return letters;
    });
    expect(letter).toMatchObject({ consumer: 'effects', error: 'Error: poison', message: { payload: '{"n":3}' } });
    await untilAcknowledged();
    expect(await effects()).toEqual([1, 2, 4, 5]);
    consumers.fail = () => undefined;
    expect(await deadLetters.replay(letter ? [letter] : [])).toBe(1);
    await eventually(async () => expect(await effects()).toEqual([1, 2, 3, 4, 5]));
    expect(await deadLetters.list()).toEqual([]);
  });

  it.each<[string, () => unknown, RegExp]>([
    ['an object without a prototype', () => Object.create(null), /Object: null prototype/],
    ['a proxy full of traps', trapped, /./],
    ['an error that cannot be read', unreadable, /cannot be described/],
    ['a text', () => 'out of stock', /^out of stock$/],
    ['a symbol', () => Symbol('odd'), /Symbol\(odd\)/],
  ])('gives up alone, and truthfully, a message whose handler always throws %s', async (_, thrown, error) => {
    consumers.fail = (n) => (n === 3 ? thrown() : undefined);
    await jobs(1, 2, 3, 4);
    const [letter] = await eventually(async () => {
      const letters = await deadLetters.list();
      expect(letters).toHaveLength(1);
      return letters;
    });
    expect(letter).toMatchObject({ message: { payload: '{"n":3}' }, error: expect.stringMatching(error) });
    await untilAcknowledged();
    expect(await effects()).toEqual([1, 2, 4]);
    expect(application.incidents.map(({ code }) => code)).not.toContain('BATCH_HANDLER_BROKEN');
  });

  it.each(['replay', 'discard'] as const)('refuses to %s what is no dead letter, and says which', async (operation) => {
    const consumer = 'effects';
    for (const [ids, message] of [
      [[{ messageId: 'nope', consumer }], "Option 'ids[0].messageId' is 'nope'"],
      [[{ messageId: uuidv7(), consumer }, {}], "Option 'ids[1].messageId' is undefined"],
      [[{ messageId: uuidv7() }], "Option 'ids[0].consumer' is undefined"],
      [[null], "Option 'ids[0].messageId' is undefined"],
      ['nope', "Option 'ids' is 'nope'"],
    ] as [DeadLetterId[], string][]) {
      const attempt = deadLetters[operation](ids);
      await expect(attempt).rejects.toMatchObject({ kind: 'misuse', message: expect.stringContaining(message) });
    }
    await expect(deadLetters.list({ after: { messageId: 'x', consumer } })).rejects.toThrow("'after.messageId' is 'x'");
  });

  it('gives up at once what the handler refuses', async () => {
    let runs = 0;
    consumers.fail = () => {
      runs += 1;
      return new MessageRefusedError('no such order');
    };
    await jobs(1);
    await eventually(async () => expect(await deadLetters.list()).toHaveLength(1));
    expect(runs).toBe(1);
    expect(await effects()).toEqual([]);
  });

  it.each([
    ['a server is down', new StoreUnavailableError({ store: 'x', operation: 'y', outcome: 'unknown' })],
    ['somebody is busy', new LockstepError({ code: 'LOCK_BUSY', kind: 'busy', message: 'busy' })],
    [
      'Postgres gives up a lock',
      Object.assign(new Error('canceling statement due to lock timeout'), { code: '55P03' }),
    ],
    ['MariaDB gives up a lock', Object.assign(new Error('Lock wait timeout exceeded'), { errno: 1205 })],
  ])('does not count attempts while %s', async (_, failure) => {
    let failures = 5;
    consumers.fail = () => (failures-- > 0 ? failure : undefined);
    await jobs(1);
    await eventually(async () => expect(await effects()).toEqual([1]));
    await untilAcknowledged();
    expect(await deadLetters.list()).toEqual([]);
  });

  it('gives up what cannot be read', async () => {
    const message = { id: uuidv7(), topic: 'job', key: undefined, payload: '{', publishedAt: 1 };
    const headers = { 'Lockstep-Origin': 'mall', 'Lockstep-Durability': 'on-accept' };
    await transport.publish({ topic: 'job', consumer: 'effects' }, [{ ...message, headers }]);
    await eventually(async () => expect(await deadLetters.list()).toMatchObject([{ messageId: message.id }]));
  });

  it('runs guards, pipes and interceptors around the handler', async () => {
    await publish('nest', { n: 1 });
    await eventually(async () => expect(await effects()).toEqual([1]));
    expect(seen).toEqual(['guard lockstep-message nest', 'interceptor', 'handler 1 true']);
  });

  it('does not take a failure for done because a filter returned something', async () => {
    await publish('nest', { n: -1 }, { n: 'x' });
    await eventually(async () => expect(await deadLetters.list()).toHaveLength(2));
    expect(await effects()).toEqual([]);
    expect(seen.filter((line) => line === 'filter negative')).toHaveLength(2);
    expect(seen.filter((line) => line === 'filter n is no number')).toHaveLength(2);
  });

  it('carries the context of the publisher to the handler', async () => {
    consumers.contexts.length = 0;
    await jobs(1);
    await eventually(() => expect(consumers.contexts).toEqual(['acme']));
  });

  it('knows when nothing waits any more', async () => {
    await jobs(1);
    await untilAcknowledged();
    expect(await application.app.get(OutboxHealth).oldestAgeMs()).toBe(0);
  });

  it('refuses two handlers that are the same consumer of a topic, at boot', async () => {
    @Injectable()
    class Twins {
      @OnMessage('job', { consumer: 'a' })
      async one(): Promise<void> {}
      @OnMessage('job', { consumer: 'a' })
      async two(): Promise<void> {}
    }
    const attempt = startOutbox({ url: postgres.url, providers: [Twins] });
    await expect(attempt).rejects.toThrow(/Twins.two and Twins.one both consume job as a/);
  });

  it.each([
    ['request-scoped', Scope.REQUEST],
    ['transient', Scope.TRANSIENT],
  ])('refuses a handler in a %s provider, at boot', async (_, scope) => {
    @Injectable({ scope })
    class Scoped {
      @OnMessage('job', { consumer: 'a' })
      async one(): Promise<void> {}
    }
    await expect(startOutbox({ url: postgres.url, providers: [Scoped] })).rejects.toThrow(ConfigurationError);
  });
});
