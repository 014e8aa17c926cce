import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { attachGuarantee, ConfigurationError, type GuaranteeLayer } from '@lockstep/core';
import {
  currentIdempotency,
  Idempotent,
  IdempotentConsumer,
  type IdempotentMethodOptions,
  NotApplied,
  OutcomeUnknown,
} from '@lockstep/idempotency';
import { sqlIdempotencyStore, sqlInbox } from '@lockstep/idempotency/sql';
import { Sql, SqlModule, Transactional } from '@lockstep/sql';
import { eventually } from '@lockstep/testing';
import { ConflictException, Inject, Injectable, NotFoundException, type Type } from '@nestjs/common';
import { EMPTY } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MethodApp, startMethodApp } from './support/method-app.js';
import { gate, ran, runs } from './support/orders.controller.js';
import { SQL_SERVERS } from './support/sql-servers.js';
import { type OpenSqlStore, openSqlStore } from './support/sql-stores.js';

const TABLE = 'CREATE TABLE payment (id varchar(36) PRIMARY KEY, name varchar(100) NOT NULL)';
const byName = { key: (name: string) => name, scope: 'global', mode: 'transactional' } as const;
/** To whoever gets it, a date; to JSON, a text. */
const date = { encode: (due: Date) => due.toISOString(), decode: (text: string) => new Date(text) };

/** Each method writes a row of its name before it does whatever else its own name says. */
@Injectable()
class Payments {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @Transactional()
  async insert(name: string): Promise<string> {
    const id = randomUUID();
    await this.sql.requireCurrent('payment').execute('INSERT INTO payment (id, name) VALUES ($1, $2)', [id, name]);
    return id;
  }

  @Idempotent(byName)
  async pay(name: string, _amount = 1): Promise<{ readonly id: string; readonly times: number }> {
    return { id: await this.insert(name), times: ran(`pay ${name}`) };
  }

  @Idempotent(byName)
  @Transactional()
  async joined(name: string): Promise<string> {
    return this.insert(name);
  }

  @Idempotent(byName)
  async held(name: string): Promise<string> {
    const id = await this.insert(name);
    ran(`held ${name}`);
    await gate(name).opened;
    return id;
  }

  @Idempotent({ ...byName, codec: date })
  async due(name: string): Promise<Date> {
    await this.insert(name);
    return new Date(ran(`due ${name}`));
  }

  @Idempotent({
    ...byName,
    payload: (name: string) => name,
    onError: (error) => (String(error).includes('keep') ? 'store' : undefined),
  })
  async failing(name: string, errors: readonly unknown[]): Promise<number> {
    await this.insert(name);
    const times = ran(`failing ${name}`);
    const error = errors[times - 1];
    if (error) throw error;
    return times;
  }

  /** Pays where nothing was paid; two at a time cannot both be right. */
  @Idempotent({ ...byName, key: (name: string, key: string) => `${name} ${key}`, isolation: 'serializable' })
  async only(name: string, _key: string): Promise<{ readonly before: number; readonly recovered: boolean }> {
    const tx = this.sql.requireCurrent('payment');
    const before = (await tx.query('SELECT 1 AS one FROM payment WHERE name = $1', [name])).length;
    if (ran(`only ${name}`) === 1) await gate(`only ${name}`).opened;
    await this.insert(name);
    return { before, recovered: currentIdempotency()?.recovered === true };
  }

  @Idempotent(byName)
  async stream(name: string): Promise<unknown> {
    await this.insert(name);
    return EMPTY;
  }

  @Idempotent(byName)
  async unstorable(name: string): Promise<unknown> {
    await this.insert(name);
    return 1n;
  }
}

describe.each(SQL_SERVERS)('a method that is one transaction, on $name', (server) => {
  const database = server.use();
  let observer: OpenSqlStore;
  let apps: MethodApp[] = [];
  let here: Payments;
  let there: Payments;

  beforeAll(async () => {
    observer = await openSqlStore(database.url);
    await observer.sql.execute(TABLE);
    const start = () =>
      startMethodApp(
        { providers: [Payments], imports: [SqlModule.forRoot({ driver: server.driver(database.url, 5) })] },
        { store: sqlIdempotencyStore(), onConcurrent: { wait: '10s' } },
      );
    apps = [await start(), await start()];
    [here, there] = apps.map(({ app }) => app.get(Payments)) as [Payments, Payments];
  });
  afterAll(async () => {
    await Promise.all(apps.map(({ app }) => app.close()));
    await observer.close();
  });

  const rows = async (name: string) =>
    (await observer.sql.query('SELECT 1 AS one FROM payment WHERE name = $1', [name])).length;
  const records = async () => (await observer.sql.query('SELECT 1 AS one FROM lockstep_idempotency')).length;
  const codeOf = (call: Promise<unknown>): Promise<unknown> =>
    call.then(
      () => 'no error',
      (error: { readonly code?: unknown }) => error.code,
    );

  it('gives ten concurrent duplicates of two processes one business row and the same result', async () => {
    const name = randomUUID();
    const results = await Promise.all(Array.from({ length: 10 }, (_, index) => (index % 2 ? here : there).pay(name)));
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(1);
    expect([results[0]?.times, await rows(name), runs.get(`pay ${name}`)]).toEqual([1, 1, 1]);
  });

  it('refuses the key with other arguments, in either process', async () => {
    const name = randomUUID();
    await here.pay(name);
    expect(await codeOf(there.pay(name, 2))).toBe('IDEMPOTENCY_KEY_REUSED');
    expect(await rows(name)).toBe(1);
  });

  it('is the transaction that a @Transactional() inside joins, and commits before the caller hears of it', async () => {
    const name = randomUUID();
    const id = await here.joined(name);
    expect([await rows(name), await there.joined(name)]).toEqual([1, id]);
  });

  it('shows nobody the row before its end, while a duplicate of another process waits', async () => {
    const name = randomUUID();
    const first = here.held(name);
    await eventually(() => expect(runs.get(`held ${name}`)).toBe(1));
    const second = there.held(name);
    expect(await rows(name)).toBe(0);
    gate(name).open();
    expect(await second).toBe(await first);
    expect([await rows(name), runs.get(`held ${name}`)]).toEqual([1, 1]);
  });

  it('keeps the result by its codec', async () => {
    const name = randomUUID();
    expect([await here.due(name), await there.due(name)]).toEqual([new Date(1), new Date(1)]);
  });

  it.each([
    ['an error', new Error('broken')],
    ['an exception that is no final answer', new ConflictException('broken')],
    ['NotApplied', new NotApplied(new Error('broken'))],
  ])('rolls everything back where it throws %s, and frees the key', async (_name, error) => {
    const name = randomUUID();
    const before = await records();
    await expect(here.failing(name, [error])).rejects.toThrow('broken');
    expect([await rows(name), await records()]).toEqual([0, before]);
    expect(await there.failing(name, [error])).toBe(2);
    expect(await rows(name)).toBe(1);
  });

  it.each([
    ['is a final answer', new NotFoundException({ code: 'NO_SUCH_ACCOUNT' })],
    ['onError wants stored', new ConflictException('keep me')],
  ])('stores an exception that %s, with its effects undone', async (_name, error) => {
    const name = randomUUID();
    const told = [
      await here.failing(name, [error]).catch((e) => e),
      await there.failing(name, [error]).catch((e) => e),
    ];
    expect(told.map((one) => [one.constructor, one.getResponse()])).toEqual(
      told.map(() => [error.constructor, error.getResponse()]),
    );
    expect([runs.get(`failing ${name}`), await rows(name)]).toEqual([1, 0]);
  });

  it('keeps the key uncertain, and no effect, where it throws OutcomeUnknown', async () => {
    const name = randomUUID();
    const errors = [new OutcomeUnknown(new Error('silence'))];
    await expect(here.failing(name, errors)).rejects.toThrow('silence');
    expect(await codeOf(there.failing(name, errors))).toBe('OPERATION_UNCERTAIN');
    expect(await rows(name)).toBe(0);
  });

  it('runs again in a new transaction where the database cannot serialize it, and tells the last result', async () => {
    const name = randomUUID();
    const late = here.only(name, 'late');
    await eventually(() => expect(runs.get(`only ${name}`)).toBe(1));
    const early = there.only(name, 'early');
    // MariaDB lets nobody insert what the other one has read; the deadlock then chooses one of them.
    if (server.name === 'postgres') await early;
    else await eventually(async () => expect(await observer.sql.query(server.waiters)).not.toHaveLength(0), SLOWLY);
    gate(`only ${name}`).open();
    const results = await Promise.all([early, late]);
    expect(results.toSorted((a, b) => a.before - b.before)).toEqual([
      { before: 0, recovered: false },
      { before: 1, recovered: true },
    ]);
    expect([runs.get(`only ${name}`), await rows(name)]).toEqual([3, 2]);
    expect(await there.only(name, 'late')).toEqual(results[1]);
  });

  it('is refused inside of an open transaction, which could still take the result back', async () => {
    const name = randomUUID();
    const { app } = apps[0] as MethodApp;
    expect(await codeOf(app.get(Sql).transaction(() => here.pay(name)))).toBe('TRANSACTION_MISUSE');
    expect([runs.has(`pay ${name}`), await rows(name)]).toEqual([false, 0]);
  });

  it('rolls back where the result is a stream, whose values would come after the commit', async () => {
    const name = randomUUID();
    expect(await codeOf(here.stream(name))).toBe('CONFIGURATION_INVALID');
    expect(await rows(name)).toBe(0);
  });

  it('commits what cannot be told again, and refuses its repetition', async () => {
    const name = randomUUID();
    expect(await here.unstorable(name)).toBe(1n);
    expect(await codeOf(there.unstorable(name))).toBe('OPERATION_RESULT_UNAVAILABLE');
    expect(await rows(name)).toBe(1);
  });
});

/** InnoDB looks at its transactions anew only when nobody has asked for a tenth of a second. */
const SLOWLY = { intervalMs: 150 };

@Injectable()
class Nothing {}

/** Any guarantee of a layer; it keeps no promise. */
function Guard(layer: GuaranteeLayer, name: string): MethodDecorator {
  const guarantee = { name, layer, runtime: Nothing, module: 'NothingModule' };
  return (target, property, descriptor) =>
    attachGuarantee(target, property, descriptor, guarantee, (_runtime, call) => call.proceed());
}

describe('an application with a method that is one transaction', () => {
  const server = SQL_SERVERS[0] as (typeof SQL_SERVERS)[number];
  const database = server.use();

  async function boot(type: Type, isAble = true): Promise<void> {
    const imports = [SqlModule.forRoot({ driver: server.driver(database.url, 2) })];
    const store = isAble ? { store: sqlIdempotencyStore() } : {};
    const { app } = await startMethodApp({ providers: [type, Nothing], imports }, { ...store, inbox: sqlInbox() });
    await app.close();
  }

  function decorated(...decorators: MethodDecorator[]): Type {
    class Paying {
      async pay(): Promise<void> {}
    }
    const descriptor = Object.getOwnPropertyDescriptor(Paying.prototype, 'pay') as PropertyDescriptor;
    for (const decorate of decorators.toReversed()) decorate(Paying.prototype, 'pay', descriptor);
    Object.defineProperty(Paying.prototype, 'pay', descriptor);
    return Paying;
  }
  const keyed = (change: Partial<IdempotentMethodOptions> = {}) =>
    Idempotent({ key: () => 'a', scope: 'global', mode: 'transactional', ...change }) as MethodDecorator;
  const consumer = IdempotentConsumer({
    consumer: 'payments',
    messageId: () => 'a',
    mode: 'transactional',
  }) as MethodDecorator;

  it('does not start on a store that cannot', async () => {
    const refusal = boot(decorated(keyed()), false);
    await expect(refusal).rejects.toThrow(
      "Paying.pay is decorated with @Idempotent, but it has the mode 'transactional'",
    );
    await expect(refusal).rejects.toBeInstanceOf(ConfigurationError);
    await boot(decorated(keyed()));
  });

  it('does not start where the method may be called without the guarantee while the store is down', async () => {
    await expect(boot(decorated(keyed({ onStoreDown: 'bypass' })))).rejects.toThrow("onStoreDown 'bypass'");
  });

  it('refuses options that are wrong', () => {
    expect(() => keyed({ isolation: 'snapshot' as 'serializable' })).toThrow("Option 'isolation' is 'snapshot'");
    expect(() => keyed({ mode: 'lease', isolation: 'serializable' })).toThrow("Option 'isolation' is 'serializable'");
  });

  describe.each([
    ['@Idempotent({ key })', keyed()],
    ['@IdempotentConsumer', consumer],
  ])('by %s', (_name, decorator) => {
    it.each<[string, GuaranteeLayer]>([
      ['DistributedLock', 'lock'],
      ['Ordered', 'ordering'],
    ])('starts with @%s above, which encloses the commit, and not with it below', async (name, layer) => {
      await boot(decorated(Guard(layer, name), decorator));
      await expect(boot(decorated(decorator, Guard(layer, name)))).rejects.toThrow(`@${name}`);
    });

    it('starts with transaction and outbox inside, and not with the outbox outside', async () => {
      await boot(decorated(decorator, Guard('transaction', 'Transactional'), Guard('outbox', 'Outbox')));
      await expect(boot(decorated(Guard('outbox', 'Outbox'), decorator))).rejects.toThrow('@Outbox');
    });
  });

  it('does not start where @Transactional() would enclose it', async () => {
    await expect(boot(decorated(Guard('transaction', 'Transactional'), keyed()))).rejects.toThrow('@Transactional');
  });
});
