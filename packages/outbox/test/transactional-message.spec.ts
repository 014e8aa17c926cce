import 'reflect-metadata';
import { OUTBOX_STORE, type OutboxStore, TransactionalMessage, TransactionalMessages } from '@lockstep/outbox';
import { CommitOutcomeUnknownError, Sql } from '@lockstep/sql';
import { eventually } from '@lockstep/testing';
import { Inject, Injectable } from '@nestjs/common';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type HalfApplication, startHalves } from './support/half-application.js';
import { PREPARED_SERVERS } from './support/prepared-stores.js';

interface Order {
  readonly order: number;
}

const DECLINED = new Error('declined');
/** Checked at once, and so often as one looks. */
const AT_ONCE = { checkAfter: 1, checkEvery: 1, maxTransactionAge: 0 } as const;

@Injectable()
class Payments {
  /** What happens in the method, in its transaction. */
  within: (order: number) => Promise<unknown> = async () => undefined;

  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @TransactionalMessage('paid', { key: ({ order }: Order) => `order-${order}`, ...AT_ONCE })
  async pay({ order }: Order, result: object): Promise<object> {
    await this.sql.requireCurrent('pay').execute('INSERT INTO payment VALUES ($1)', [order]);
    await this.within(order);
    return result;
  }

  @TransactionalMessage('paid', { body: (order: number, shop: string) => ({ order, shop }) })
  async payAt(_order: number, _shop: string): Promise<void> {}

  @TransactionalMessage('ordered', { key: () => 'k' })
  async inOrder(_body: object): Promise<void> {}
}

describe.each(PREPARED_SERVERS)('A transactional message on $name', (server) => {
  const database = server.use();
  let application: HalfApplication;
  let payments: Payments;
  let messages: TransactionalMessages;

  beforeAll(async () => {
    application = await startHalves(server, database.url, [Payments]);
    await application.sql.execute('CREATE TABLE payment (id int PRIMARY KEY)');
    await application.store.facts();
  }, 180_000);
  afterAll(() => application?.app.close());
  beforeEach(async () => {
    for (const statement of [...server.empty, 'DELETE FROM payment']) await application.sql.execute(statement);
    payments = application.app.get(Payments);
    payments.within = async () => undefined;
    messages = application.app.get(TransactionalMessages);
  });

  const paid = async () =>
    (await application.sql.query<{ id: number }>('SELECT id FROM payment ORDER BY id')).map(({ id }) => id);
  const open = async () => (await messages.facts()).prepared;
  const published = () => application.published();
  /** Looks until nothing is open. */
  const checked = () =>
    eventually(async () => {
      await application.check();
      expect(await open()).toBe(0);
    });
  const ALREADY = { code: 'MESSAGE_ALREADY_ROLLED_BACK', kind: 'conflict' };

  it('is published when the transaction of the method has committed, and the result passes unchanged', async () => {
    const result = { thanks: true };
    const wokenBefore = application.woken.length;
    expect(await payments.pay({ order: 1 }, result)).toBe(result);
    expect(await published()).toEqual([{ order: 1 }]);
    expect([await paid(), await open()]).toEqual([[1], 0]);
    expect(application.woken.length).toBe(wokenBefore + 1);
    await application.check();
    expect(await published()).toHaveLength(1);
  });

  it('tells the relay when its delay ends, and does not wake the shard for it before', async () => {
    const wokenBefore = application.woken.length;
    await messages.run({ topic: 'paid', body: { order: 1 }, delay: 300 }, (half) =>
      application.sql.transaction((tx) => half.join(tx)),
    );
    expect(application.expected).toEqual([300]);
    expect(application.woken.length).toBe(wokenBefore);
  });

  it('has its key, and the body that is made of the arguments before the method runs', async () => {
    await payments.pay({ order: 2 }, {});
    await payments.payAt(3, 'left');
    const rows = await application.sql.query<{ key: string | null; payload: string }>(server.published);
    expect(rows.map(({ key, payload }) => [key, JSON.parse(payload)])).toEqual([
      ['order-2', { order: 2 }],
      [null, { order: 3, shop: 'left' }],
    ]);
  });

  it('is rolled back when the method fails, and the error passes by identity', async () => {
    payments.within = () => Promise.reject(DECLINED);
    await expect(payments.pay({ order: 1 }, {})).rejects.toBe(DECLINED);
    expect([await paid(), await open(), await published()]).toEqual([[], 0, []]);
  });

  it('is left alone by the check-back while the work takes its time, and published then', async () => {
    payments.within = async () => {
      await application.check();
      expect(await open()).toBe(1);
    };
    await payments.pay({ order: 1 }, {});
    expect([await paid(), await open(), await published()]).toEqual([[1], 0, [{ order: 1 }]]);
  });

  it('does not begin the work when it cannot be prepared', async () => {
    const away = new Error('away');
    const prepare = vi
      .spyOn(application.app.get<OutboxStore>(OUTBOX_STORE).prepared, 'prepare')
      .mockRejectedValueOnce(away);
    await expect(payments.pay({ order: 1 }, {})).rejects.toBe(away);
    prepare.mockRestore();
    expect([await paid(), await open(), await published()]).toEqual([[], 0, []]);
  });

  it('is rolled back when the answer to the commit was lost, and the database had not committed', async () => {
    const lost = new CommitOutcomeUnknownError(new Error('cut'));
    const attempt = messages.run({ topic: 'paid', body: { order: 1 }, ...AT_ONCE }, async (half) => {
      const local = await server.begin(database.url);
      await half.join(local.tx);
      await local.tx.execute('INSERT INTO payment VALUES ($1)', [1]);
      await local.drop();
      throw lost;
    });
    await expect(attempt).rejects.toBe(lost);
    await checked();
    expect([await paid(), await published()]).toEqual([[], []]);
  });

  it('is published when the answer to the commit was lost, and the database had committed', async () => {
    const lost = new CommitOutcomeUnknownError(new Error('cut'));
    const attempt = messages.run({ topic: 'paid', body: { order: 1 }, ...AT_ONCE }, async (half) => {
      const local = await server.begin(database.url);
      await half.join(local.tx);
      await local.tx.execute('INSERT INTO payment VALUES ($1)', [1]);
      await local.commit();
      throw lost;
    });
    await expect(attempt).rejects.toBe(lost);
    await checked();
    expect([await paid(), await published()]).toEqual([[1], [{ order: 1 }]]);
  });

  it('is published by the check-back when the decision could not be written down, and the result passes', async () => {
    const commit = vi.spyOn(application.store, 'commit').mockRejectedValueOnce(new Error('away'));
    const result = {};
    expect(await payments.pay({ order: 1 }, result)).toBe(result);
    commit.mockRestore();
    expect(application.incidents.at(-1)).toMatchObject({ code: 'OUTBOX_HALF_LEFT_TO_CHECK' });
    expect([await open(), await published()]).toEqual([1, []]);
    await checked();
    expect(await published()).toEqual([{ order: 1 }]);
  });

  it('is published where the work was committed before the method failed', async () => {
    const attempt = messages.run({ topic: 'paid', body: { order: 1 }, ...AT_ONCE }, async (half) => {
      await application.sql.transaction((tx) => half.join(tx));
      throw DECLINED;
    });
    await expect(attempt).rejects.toBe(DECLINED);
    expect([await open(), await published()]).toEqual([0, [{ order: 1 }]]);
  });

  it('joins a transaction of another library, and asks its tombstone how that ended', async () => {
    await messages.run({ topic: 'paid', body: { order: 1 } }, async (half) => {
      const local = await server.begin(database.url);
      await half.join(local.tx);
      await local.commit();
    });
    expect(await published()).toEqual([{ order: 1 }]);
    const unended = messages.run({ topic: 'paid', body: { order: 2 }, ...AT_ONCE }, async (half) => {
      const local = await server.begin(database.url);
      await half.join(local.tx);
      return local;
    });
    // Resolved, and nobody has committed: it is not published before somebody does.
    const local = await unended;
    expect(await published()).toHaveLength(1);
    await local.commit();
    await checked();
    expect(await published()).toEqual([{ order: 1 }, { order: 2 }]);
  });

  it('is refused to a work that believes to be committed, and whose transaction rolled back', async () => {
    const attempt = messages.run({ topic: 'paid', body: { order: 1 } }, async (half) => {
      await application.sql
        .transaction(async (tx) => {
          await half.join(tx);
          throw DECLINED;
        })
        .catch(() => undefined);
    });
    await expect(attempt).rejects.toMatchObject(ALREADY);
    expect([await open(), await published()]).toEqual([0, []]);
  });

  it('makes the transaction roll back that joins after the check-back', async () => {
    const attempt = messages.run({ topic: 'paid', body: { order: 1 }, ...AT_ONCE }, async (half) => {
      await checked();
      await application.sql.transaction(async (tx) => {
        await tx.execute('INSERT INTO payment VALUES ($1)', [1]);
        await half.join(tx);
      });
    });
    await expect(attempt).rejects.toMatchObject(ALREADY);
    expect([await paid(), await published()]).toEqual([[], []]);
  });

  it('makes the transaction roll back that joins after the deadline', async () => {
    const attempt = messages.run({ topic: 'paid', body: { order: 1 }, deadline: 1 }, async (half) => {
      await eventually(async () => expect((await messages.facts()).oldestPreparedMs).toBeGreaterThan(1));
      await application.sql.transaction((tx) => half.join(tx));
    });
    await expect(attempt).rejects.toMatchObject(ALREADY);
    expect([await open(), await published()]).toEqual([0, []]);
  });

  it('cannot be prepared inside of an open transaction, says so, and does nothing', async () => {
    const attempt = application.sql.transaction(() => payments.pay({ order: 1 }, {}));
    await expect(attempt).rejects.toMatchObject({ code: 'TRANSACTIONAL_MESSAGE_MISUSE', kind: 'misuse' });
    expect([await paid(), await open()]).toEqual([[], 0]);
  });

  it('is rolled back when the work joins it to no transaction, and says so', async () => {
    const attempt = messages.run({ topic: 'paid', body: {} }, async () => 1);
    await expect(attempt).rejects.toMatchObject({ code: 'TRANSACTIONAL_MESSAGE_MISUSE' });
    expect([await open(), await published()]).toEqual([0, []]);
  });

  it('is joined once, and not after its work has ended', async () => {
    let late: () => Promise<void> = async () => undefined;
    await messages.run({ topic: 'paid', body: {} }, async (half) => {
      late = () => application.sql.transaction((tx) => half.join(tx));
      await late();
      await expect(late()).rejects.toMatchObject({ code: 'TRANSACTIONAL_MESSAGE_MISUSE' });
    });
    await expect(late()).rejects.toMatchObject({ code: 'TRANSACTIONAL_MESSAGE_MISUSE' });
  });

  it('is not strict', async () => {
    await expect(payments.inOrder({})).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
  });

  it('was parked because its transaction was open, and is published by its owner all the same', async () => {
    const init = { topic: 'paid', body: { order: 1 }, ...AT_ONCE, checks: 1 };
    await messages.run(init, (half) =>
      application.sql.transaction(async (tx) => {
        await half.join(tx);
        await eventually(async () => {
          await application.check();
          expect(await messages.undecided()).toHaveLength(1);
        });
      }),
    );
    expect([await messages.undecided(), await published()]).toEqual([[], [{ order: 1 }]]);
  });
});
