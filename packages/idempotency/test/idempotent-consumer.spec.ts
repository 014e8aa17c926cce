import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import { IdempotentConsumer, type IdempotentConsumerOptions, NotApplied } from '@lockstep/idempotency';
import { sqlInbox } from '@lockstep/idempotency/sql';
import { Sql, SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { of } from 'rxjs';
import { v7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type MethodApp, startMethodApp } from './support/method-app.js';

interface Paid {
  readonly id: string;
  readonly amount: number;
}

let runs = 0;
let work: () => Promise<unknown> = async () => undefined;
beforeEach(() => {
  runs = 0;
  work = async () => undefined;
});

async function attempt(handling: Promise<unknown>): Promise<unknown> {
  return handling.catch((error: { readonly code?: string; readonly message: string }) => error.code ?? error.message);
}

describe('a transactional consumer', () => {
  const postgres = usePostgres();
  let method: MethodApp;
  let sql: Sql;

  @Injectable()
  class Points {
    constructor(@Inject(Sql) private readonly database: Sql) {}

    @IdempotentConsumer({ consumer: 'points', messageId: (paid: Paid) => paid.id, mode: 'transactional' })
    async paid({ id, amount }: Paid): Promise<void> {
      runs += 1;
      await this.database.requireCurrent('points').execute('INSERT INTO points VALUES ($1, $2)', [id, amount]);
      await work();
    }

    @IdempotentConsumer({
      consumer: 'statistics',
      messageId: (paid: Paid) => paid.id,
      mode: 'transactional',
      onDuplicate: (paid: Paid) => `again ${paid.amount}`,
    })
    async counted(_paid: Paid): Promise<string> {
      runs += 1;
      return 'first';
    }
  }

  beforeAll(async () => {
    method = await startMethodApp(
      { providers: [Points], imports: [SqlModule.forRoot({ driver: pgDriver({ url: postgres.url }) })] },
      { inbox: sqlInbox() },
    );
    sql = method.app.get(Sql);
    await sql.execute('CREATE TABLE points (message_id uuid, amount int)');
  });
  afterAll(() => method.app.close());

  const points = (): Points => method.app.get(Points);
  const effects = async (id: string): Promise<number> =>
    (await sql.query('SELECT 1 FROM points WHERE message_id = $1', [id])).length;

  it('handles the first copy and returns for every other, so that it is acknowledged', async () => {
    const paid = { id: v7(), amount: 5 };
    for (const copy of [paid, paid, { ...paid, id: paid.id.toUpperCase() }]) {
      expect(await points().paid(copy)).toBeUndefined();
    }
    expect([runs, await effects(paid.id)]).toEqual([1, 1]);
  });

  it('is one of several, each of which handles the message; a duplicate gets what onDuplicate says', async () => {
    const paid = { id: v7(), amount: 5 };
    await points().paid(paid);
    expect([await points().counted(paid), await points().counted(paid), runs]).toEqual(['first', 'again 5', 2]);
  });

  it('rolls the effect back with the memory, so that the next copy is the first', async () => {
    const paid = { id: v7(), amount: 5 };
    for (const error of [new Error('broken'), new NotApplied(new Error('closed'))]) {
      work = () => Promise.reject(error);
      expect(await attempt(points().paid(paid))).toBe(error instanceof NotApplied ? 'closed' : 'broken');
      expect(await effects(paid.id)).toBe(0);
    }
    work = async () => undefined;
    await points().paid(paid);
    await points().paid(paid);
    expect([runs, await effects(paid.id)]).toEqual([3, 1]);
  });

  it.each([
    ['commits', 1],
    ['rolls back', 2],
  ])('lets a copy wait for the transaction that handles another one, which then %s', async (how, expected) => {
    const paid = { id: v7(), amount: 5 };
    let end = (): void => undefined;
    work = () =>
      new Promise((resolve, reject) => {
        end = () => (how === 'commits' ? resolve(undefined) : reject(new Error('broken')));
      });
    const first = attempt(points().paid(paid));
    await eventually(() => expect(runs).toBe(1));
    let settled = false;
    const second = points()
      .paid(paid)
      .finally(() => {
        settled = true;
      });
    await eventually(async () => {
      const waiting = await sql.query(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%lockstep_inbox%'",
      );
      expect(waiting).toHaveLength(1);
    });
    expect([settled, runs]).toEqual([false, 1]);
    work = async () => undefined;
    end();
    await Promise.all([first, second]);
    expect([runs, await effects(paid.id)]).toEqual([expected, 1]);
  });

  it.each(['', 'order-1', '0d7f3a52-5f0e-4b0e-9d8a-5a0b7c3f1e11'])(
    'refuses a message whose id is %j before anything happens',
    async (id) => {
      expect(await attempt(points().paid({ id, amount: 5 }))).toBe('MESSAGE_ID_INVALID');
      expect(runs).toBe(0);
    },
  );
});

describe('a consumer by lease', () => {
  @Injectable()
  class Mail {
    @IdempotentConsumer({ consumer: 'mail', messageId: (paid: Paid) => paid.id, mode: 'lease' })
    async paid(_paid: Paid): Promise<unknown> {
      runs += 1;
      return work();
    }

    @IdempotentConsumer({
      consumer: 'eager',
      messageId: (paid: Paid) => paid.id,
      mode: 'lease',
      onLeaseExpiry: 'retry',
    })
    async eager(_paid: Paid): Promise<void> {
      runs += 1;
      await work();
    }

    @IdempotentConsumer({ consumer: 'stream', messageId: (paid: Paid) => paid.id, mode: 'lease' })
    async stream(_paid: Paid): Promise<unknown> {
      return of(1);
    }
  }

  const message = { id: 'any text is an id', amount: 5 };
  const start = async (): Promise<Mail> => (await startMethodApp({ providers: [Mail] })).app.get(Mail);

  it('handles the first copy and returns for every other, written anew or not', async () => {
    const mail = await start();
    work = async () => 'sent';
    expect([await mail.paid(message), await mail.paid({ ...message, amount: 6 }), runs]).toEqual([
      'sent',
      undefined,
      1,
    ]);
  });

  it('refuses a copy while another one is handled, because the first may still fail', async () => {
    const mail = await start();
    let end = (): void => undefined;
    work = () =>
      new Promise((resolve) => {
        end = () => resolve('sent');
      });
    const first = mail.paid(message);
    await eventually(() => expect(runs).toBe(1));
    await expect(mail.paid(message)).rejects.toMatchObject({ code: 'OPERATION_IN_PROGRESS', retryable: true });
    end();
    expect([await first, await mail.paid(message), runs]).toEqual(['sent', undefined, 1]);
  });

  it('neither handles again nor acknowledges what nobody knows the outcome of', async () => {
    const mail = await start();
    work = () => Promise.reject(new Error('no answer'));
    expect(await attempt(mail.paid(message))).toBe('no answer');
    expect(await attempt(mail.paid(message))).toBe('OPERATION_UNCERTAIN');
    expect(runs).toBe(1);
  });

  it('handles a message again after an error, where nothing happened or the policy says so', async () => {
    const mail = await start();
    work = () => Promise.reject(new NotApplied(new Error('closed')));
    expect(await attempt(mail.paid(message))).toBe('closed');
    work = () => Promise.reject(new Error('no answer'));
    expect(await attempt(mail.eager(message))).toBe('no answer');
    work = async () => undefined;
    await mail.paid(message);
    await mail.eager(message);
    expect(runs).toBe(4);
  });

  it('refuses a result whose values come after the message was acknowledged', async () => {
    expect(await attempt((await start()).stream(message))).toBe('CONFIGURATION_INVALID');
  });
});

describe('an application does not start', () => {
  it('where a consumer is transactional and there is no inbox, or no database for it', async () => {
    class Points {
      @IdempotentConsumer({ consumer: 'points', messageId: () => 'a', mode: 'transactional' })
      async paid(): Promise<void> {}
    }
    await expect(startMethodApp({ providers: [Points] })).rejects.toThrow('inbox: sqlInbox()');
    await expect(startMethodApp({ providers: [] }, { inbox: sqlInbox() })).rejects.toThrow(
      'sqlInbox() needs SqlModule',
    );
    await expect(startMethodApp({ providers: [] }, { inbox: {} as never })).rejects.toThrow("Option 'inbox' is {}");
  });

  it('where two methods are one consumer, because each would keep messages from the other', async () => {
    class Twins {
      @IdempotentConsumer({ consumer: 'points', messageId: () => 'a', mode: 'lease' })
      async first(): Promise<void> {}

      @IdempotentConsumer({ consumer: 'points', messageId: () => 'a', mode: 'lease' })
      async second(): Promise<void> {}
    }
    await expect(startMethodApp({ providers: [Twins] })).rejects.toThrow('Twins.first and Twins.second');
  });

  it.each<[string, object]>([
    ["'consumer' is 'two words'", { consumer: 'two words' }],
    ["'consumer' is undefined", { consumer: undefined }],
    ["'messageId' is 'id'", { messageId: 'id' }],
    ["'mode' is undefined", { mode: undefined }],
    ["'mode' is 'both'", { mode: 'both' }],
    ["'onDuplicate' is 'skip'", { onDuplicate: 'skip' }],
    ["'retention' is '1'", { retention: '1' }],
  ])('with a wrong option: %s', (text, change) => {
    const options = { consumer: 'points', messageId: () => 'a', mode: 'lease', ...change };
    const decorate = (): unknown => IdempotentConsumer(options as IdempotentConsumerOptions & { onDuplicate?: never });
    expect(decorate).toThrow(text);
    expect(decorate).toThrow(ConfigurationError);
  });
});
