import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import {
  currentIdempotency,
  type IdempotencyEvent,
  IdempotencyModule,
  type IdempotencyModuleExtras,
  type IdempotencyModuleOptions,
  IdempotencyService,
  MemoryIdempotencyStore,
  NotApplied,
  type Operation,
  OutcomeUnknown,
  operationId,
  type TransactionalRun,
} from '@lockstep/idempotency';
import { sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { usePostgres } from '@lockstep/testing/vitest';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SECRET, silentMemoryStore } from './support/http-app.js';

describe('transact()', () => {
  const postgres = usePostgres();
  let app: TestingModule;
  let service: IdempotencyService;
  let sql: Sql;

  beforeAll(async () => {
    app = await boot(true);
    service = app.get(IdempotencyService);
    sql = app.get(Sql);
    await sql.execute('CREATE TABLE payment (name text)');
  });
  afterAll(() => app.close());

  async function boot(
    isAble: boolean,
    options: Partial<IdempotencyModuleOptions & IdempotencyModuleExtras> = {},
  ): Promise<TestingModule> {
    const store = isAble ? sqlIdempotencyStore() : silentMemoryStore();
    const module = await Test.createTestingModule({
      imports: [
        SqlModule.forRoot({ driver: pgDriver({ url: postgres.url }) }),
        IdempotencyModule.forRoot({ scope: 'global', secret: SECRET, store, ...options }),
      ],
    }).compile();
    module.useLogger(false);
    return module.init();
  }

  const operation = (change: Partial<Operation> = {}): Operation => ({
    scope: 'tests',
    operation: 'pay',
    key: randomUUID(),
    payload: { amount: 1 },
    ...change,
  });
  const pay = async (name: string) =>
    void (await sql.requireCurrent('payment').execute('INSERT INTO payment VALUES ($1)', [name]));
  const payments = async (name: string) => (await sql.query('SELECT FROM payment WHERE name = $1', [name])).length;

  it('runs once per key in one transaction, and gives repetitions the first result', async () => {
    const one = operation();
    let runs = 0;
    const fn = async () => {
      await pay(one.key);
      runs += 1;
      return { runs };
    };
    expect([await service.transact(one, fn), await service.transact(one, fn)]).toEqual([{ runs: 1 }, { runs: 1 }]);
    expect([runs, await payments(one.key)]).toEqual([1, 1]);
  });

  it('refuses the key with another payload', async () => {
    const one = operation();
    await service.transact(one, async () => 1);
    const other = service.transact({ ...one, payload: { amount: 2 } }, async () => 2);
    await expect(other).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  });

  it('tells the work what it is part of; nothing can take the claim away', async () => {
    const one = operation();
    await service.transact(one, async (context) => {
      expect(currentIdempotency()).toBe(context);
      expect(context).toMatchObject({ recovered: false, fence: expect.any(BigInt) });
      expect(context.signal.aborted).toBe(false);
    });
  });

  it('is busy at once, with Retry-After, while it runs, and waits where the policy says so', async () => {
    const one = operation();
    let end: () => void = () => undefined;
    let first: Promise<string> | undefined;
    await new Promise<void>((entered) => {
      first = service.transact(one, async () => {
        entered();
        await new Promise<void>((resolve) => {
          end = resolve;
        });
        return 'first';
      });
    });
    const refused = service.transact(one, async () => 'second');
    await expect(refused).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS', retryAfterMs: 1_000 });
    const waiting = service.transact(one, async () => 'third', { waitMs: 5_000 });
    end();
    expect([await first, await waiting]).toEqual(['first', 'first']);
  });

  it.each(['the same process', 'another process'])('ends the wait in %s when its caller leaves', async (where) => {
    const other = await boot(true);
    const one = operation();
    let end: () => void = () => undefined;
    let first: Promise<string> | undefined;
    await new Promise<void>((entered) => {
      first = service.transact(one, async () => {
        entered();
        await new Promise<void>((resolve) => {
          end = resolve;
        });
        return 'first';
      });
    });
    const caller = new AbortController();
    const waiter = where === 'the same process' ? service : other.get(IdempotencyService);
    const waiting = waiter.transact(one, async () => 'second', { waitMs: 60_000 }, caller.signal);
    setImmediate(() => caller.abort());
    await expect(waiting).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS' });
    end();
    expect([await first, await waiter.transact(one, async () => 'third')]).toEqual(['first', 'first']);
    await other.close();
  });

  it('does not end work that has begun when its caller leaves', async () => {
    const one = operation();
    const caller = new AbortController();
    const fn = async () => {
      await pay(one.key);
      caller.abort();
      return 'paid';
    };
    expect(await service.transact(one, fn, { waitMs: 5_000 }, caller.signal)).toBe('paid');
    expect(await payments(one.key)).toBe(1);
  });

  it.each([
    ['an error', new Error('broken')],
    ['NotApplied', new NotApplied(new Error('broken'))],
  ])('rolls everything back where the work throws %s, and frees the key', async (_name, failure) => {
    const one = operation();
    const broken = service.transact(one, async () => {
      await pay(one.key);
      throw failure;
    });
    await expect(broken).rejects.toThrow('broken');
    expect(await payments(one.key)).toBe(0);
    expect(await service.transact({ ...one, payload: 'other' }, async () => 'free')).toBe('free');
  });

  it.each([
    ['OutcomeUnknown', new OutcomeUnknown(new Error('silence')), undefined],
    ["what onError calls 'uncertain'", new Error('silence'), () => 'uncertain' as const],
  ])('keeps the key uncertain, and no effect, where the work throws %s', async (_name, failure, onError) => {
    const one = operation();
    const silent = service.transact(
      one,
      async () => {
        await pay(one.key);
        throw failure;
      },
      onError ? { onError } : {},
    );
    await expect(silent).rejects.toThrow('silence');
    expect(await payments(one.key)).toBe(0);
    await expect(service.transact(one, async () => 1)).rejects.toMatchObject({ code: 'OPERATION_UNCERTAIN' });
  });

  it('refuses inside of a transaction of the caller', async () => {
    const joined = sql.transaction(() => service.transact(operation(), async () => 1));
    await expect(joined).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
  });

  it('has no steps, because it commits as a whole', async () => {
    const stepping = service.transact(operation(), ({ phase }) =>
      phase.call(currentIdempotency(), 'charge', async () => 1),
    );
    await expect(stepping).rejects.toThrow("it has no steps such as 'charge'");
  });

  it('lets only begin what was issued, where the policy wants that', async () => {
    const one = operation();
    const policy = { requiresIssue: true };
    await expect(service.transact(one, async () => 1, policy)).rejects.toMatchObject({ code: 'OPERATION_ABSENT' });
    await sql.execute(
      `INSERT INTO lockstep_idempotency (id, state, owner, fence, operation, policy, past, expires_at)
       VALUES ($1, 'I', '', 1, '', 'U', 0, clock_timestamp() + interval '1 minute')`,
      [operationId(one)],
    );
    expect(await service.transact(one, async () => 1, policy)).toBe(1);
    expect(await service.transact(one, async () => 2, policy)).toBe(1);
  });

  it('keeps answers encrypted where keys are given', async () => {
    const keys = { k1: 'a secret of more than thirty-two bytes' };
    const sealed = await boot(true, { encryption: { keys, current: 'k1' } });
    const one = operation();
    const fn = async () => 'a secret answer';
    expect(await sealed.get(IdempotencyService).transact(one, fn)).toBe('a secret answer');
    expect(await sealed.get(IdempotencyService).transact(one, fn)).toBe('a secret answer');
    const [row] = await sql.query<{ response: string }>('SELECT response FROM lockstep_idempotency WHERE id = $1', [
      operationId(one),
    ]);
    expect(row?.response).toMatch(/^e1\.k1\./);
    await sealed.close();
  });

  it('tells listeners what happens, one beginning for each end', async () => {
    const events: IdempotencyEvent[] = [];
    const end = service.subscribe((event) => events.push(event));
    const one = operation();
    await expect(service.transact(one, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    await service.transact(one, async () => 1);
    await service.transact(one, async () => 1);
    await expect(service.transact({ ...one, payload: 2 }, async () => 1)).rejects.toThrow();
    end();
    expect(events.map(({ type }) => type)).toEqual(['begun', 'released', 'begun', 'completed', 'replayed', 'refused']);
  });

  it('tells of an end also where a run that was rolled back lost the operation to another', async () => {
    const losing = new MemoryIdempotencyStore();
    const transact = async (_request: unknown, work: (run: TransactionalRun) => Promise<unknown>): Promise<object> => {
      await work({ fence: 1n, recovered: false });
      return { outcome: 'busy' };
    };
    const other = await boot(false, { store: { useFactory: () => Object.assign(losing, { transact }) } });
    const events: IdempotencyEvent[] = [];
    other.get(IdempotencyService).subscribe((event) => events.push(event));
    const lost = other.get(IdempotencyService).transact(operation(), async () => 1);
    await expect(lost).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS' });
    expect(events.map(({ type }) => type)).toEqual(['begun', 'released', 'refused']);
    await other.close();
  });

  it('refuses on a store that cannot', async () => {
    const other = await boot(false);
    const refused = other.get(IdempotencyService).transact(operation(), async () => 1);
    await expect(refused).rejects.toThrow("The mode 'transactional' needs a store");
    await other.close();
  });
});
