import 'reflect-metadata';
import {
  DeadLetters,
  type FailureNotice,
  MessageRefusedError,
  OnMessage,
  TransactionalMessage,
  TransactionalMessages,
} from '@lockstep/outbox';
import { Sql } from '@lockstep/sql';
import { eventually } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import { Inject, Injectable } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OutboxApplication, startOutbox } from './support/outbox-application.js';

interface Order {
  readonly order: number;
}

let failingOnce = false;

@Injectable()
class Payments {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @TransactionalMessage('paid', { compensate: 'refund' })
  async pay({ order }: Order): Promise<void> {
    await this.sql.requireCurrent('pay').execute('INSERT INTO payment VALUES ($1)', [order]);
  }

  @TransactionalMessage('paid')
  async payForGood({ order }: Order): Promise<void> {
    await this.sql.requireCurrent('pay').execute('INSERT INTO payment VALUES ($1)', [order]);
  }

  async refund({ order }: Order, { consumer, error, topic }: FailureNotice): Promise<void> {
    const tx = this.sql.requireCurrent('refund');
    await tx.execute('INSERT INTO refund VALUES ($1, $2)', [order, `${topic} ${consumer} ${error}`]);
    if (!failingOnce) return;
    failingOnce = false;
    throw new Error('not now');
  }
}

@Injectable()
class Points {
  @OnMessage('paid', { consumer: 'points' })
  async grant({ order }: Order): Promise<void> {
    if (order > 0) throw new MessageRefusedError('no points for nobody');
  }
}

describe('A transactional message that a consumer gives up', () => {
  const database = usePostgres();
  let application: OutboxApplication;

  beforeEach(async () => {
    failingOnce = false;
    application = await startOutbox({
      url: database.url,
      providers: [Payments, Points],
      prepare: async (sql) => {
        await sql.execute('CREATE TABLE IF NOT EXISTS payment (id int PRIMARY KEY)');
        await sql.execute('CREATE TABLE IF NOT EXISTS refund (id int, why text)');
        await sql.execute('TRUNCATE payment, refund');
      },
    });
  });
  afterEach(() => application.app.close());

  const refunds = () => application.sql.query('SELECT id, why FROM refund');
  const pay = (order: number) => application.app.get(Payments).pay({ order });
  const untilQuiet = () =>
    eventually(async () => {
      const [left] = await application.sql.query<{ n: string }>(
        'SELECT ((SELECT count(*) FROM lockstep_outbox) + (SELECT count(*) FROM lockstep_outbox_inflight))::text AS n',
      );
      expect(left?.n).toBe('0');
    });

  it('is compensated by the producer, once, in a transaction', async () => {
    await pay(1);
    await pay(-2);
    await eventually(async () => expect(await refunds()).toHaveLength(1));
    await untilQuiet();
    expect(await refunds()).toEqual([{ id: 1, why: expect.stringMatching(/^paid points .*no points for nobody/) }]);
  });

  it('is compensated once, though the first attempt fails', async () => {
    failingOnce = true;
    await pay(3);
    await eventually(async () => expect(await refunds()).toHaveLength(1), { timeoutMs: 8_000 });
    await untilQuiet();
    expect(await refunds()).toMatchObject([{ id: 3 }]);
  });

  it('raises an alarm where nobody compensates', async () => {
    await application.app.get(Payments).payForGood({ order: 4 });
    await eventually(() =>
      expect(application.incidents.map(({ code }) => code)).toContain('OUTBOX_TRANSACTIONAL_MESSAGE_FAILED'),
    );
    await untilQuiet();
    expect(await refunds()).toEqual([]);
  });

  it('lets the notices to a compensator that is no more end as dead letters', async () => {
    const { app, sql } = application;
    await sql.execute(
      `INSERT INTO lockstep_outbox_inflight
         (consumer, message_id, topic, payload, headers, awaits_ack, published_at, deliveries, redeliver_at)
       VALUES ('gone', gen_random_uuid(), 'lockstep.failed', '{}', '{"Lockstep-Origin":"mall"}', true, now(), 1, now())`,
    );
    const letters = app.get(DeadLetters);
    await expect(letters.retireCompensator('No Name')).rejects.toThrow(/'compensator'/);
    await expect(letters.retire({ topic: 'lockstep.failed', consumer: 'gone' })).rejects.toThrow(/no topic below/);
    expect(await letters.retireCompensator('gone')).toBe(1);
    await untilQuiet();
    expect(await letters.list({ consumer: 'gone' })).toHaveLength(1);
  });

  it('is compensated by what was registered under a name, without a decorator', async () => {
    await application.app.close();
    const told: unknown[] = [];
    @Injectable()
    class Registers {
      constructor(@Inject(TransactionalMessages) messages: TransactionalMessages) {
        messages.registerCompensator('refunds', async (body, notice) => told.push([body, notice.consumer]));
      }
    }
    application = await startOutbox({ url: database.url, providers: [Registers, Points] });
    const { app, sql } = application;
    await app
      .get(TransactionalMessages)
      .run({ topic: 'paid', body: { order: 5 }, compensator: 'refunds' }, (half) =>
        sql.transaction((tx) => half.join(tx)),
      );
    await eventually(() => expect(told).toEqual([[{ order: 5 }, 'points']]));
  });
});
