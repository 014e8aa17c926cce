import 'reflect-metadata';
import { ConfigurationError, LockstepError } from '@lockstep/core';
import {
  type CheckAnswer,
  type FailureNotice,
  NotAppliedError,
  TransactionalMessage,
  TransactionalMessages,
} from '@lockstep/outbox';
import { eventually } from '@lockstep/testing';
import { Injectable, Scope } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type HalfApplication, startHalves } from './support/half-application.js';
import { PREPARED_SERVERS, type PreparedServer } from './support/prepared-stores.js';

interface Order {
  readonly order: number;
}

const TIMES = { checkAfter: 1, checkEvery: 1, checks: 3, maxTransactionAge: 0 } as const;
const CRASHED = new Error('connection reset');

/** A bank, in which the work is done. */
@Injectable()
class Bank {
  charging: (order: number) => Promise<void> = async () => undefined;
  answering: (id: string, body: Order) => Promise<CheckAnswer> = async () => 'unknown';

  @TransactionalMessage('charged', { check: 'wasCharged', ...TIMES })
  async charge({ order }: Order): Promise<string> {
    await this.charging(order);
    return `charged ${order}`;
  }

  @TransactionalMessage('charged', {
    check: 'wasCharged',
    checkAfter: 1,
    checkEvery: 1,
    checks: 9_000,
    maxTransactionAge: 400,
  })
  async chargeSlowly({ order }: Order): Promise<void> {
    await this.charging(order);
  }

  async wasCharged(id: string, body: Order): Promise<CheckAnswer> {
    return this.answering(id, body);
  }
}

const [postgres] = PREPARED_SERVERS as readonly [PreparedServer];

describe('The check-back', () => {
  const database = postgres.use();
  let application: HalfApplication;
  let bank: Bank;
  let messages: TransactionalMessages;

  beforeAll(async () => {
    application = await startHalves(postgres, database.url, [Bank]);
    await application.store.facts();
  });
  afterAll(() => application?.app.close());
  beforeEach(async () => {
    for (const statement of postgres.empty) await application.sql.execute(statement);
    bank = application.app.get(Bank);
    bank.charging = async () => undefined;
    bank.answering = async () => 'unknown';
    messages = application.app.get(TransactionalMessages);
  });

  const open = async () => (await messages.facts()).prepared;
  const codes = () => application.incidents.map(({ code }) => code);
  const checkedUntil = (fact: () => Promise<void>) =>
    eventually(async () => {
      await application.check();
      await fact();
    });
  /** Somebody died in the middle of it: nothing is known, and the message is open. */
  const leftOpen = async (order: number): Promise<void> => {
    bank.charging = () => Promise.reject(CRASHED);
    await expect(bank.charge({ order })).rejects.toBe(CRASHED);
    expect(await open()).toBe(1);
  };

  it('is not needed where the work ends: its message is published, and the result passes', async () => {
    expect(await bank.charge({ order: 1 })).toBe('charged 1');
    expect([await open(), await application.published()]).toEqual([0, [{ order: 1 }]]);
  });

  it.each<[CheckAnswer, unknown[]]>([
    ['commit', [{ order: 7 }]],
    ['rollback', []],
  ])(
    'asks the check with id and body about what is not known, and takes its %s for the decision',
    async (answer, published) => {
      await leftOpen(7);
      const asked: unknown[] = [];
      bank.answering = async (id, body) => {
        asked.push([typeof id, body]);
        return answer;
      };
      await checkedUntil(async () => expect(await open()).toBe(0));
      expect(asked).toEqual([['string', { order: 7 }]]);
      expect(await application.published()).toEqual(published);
    },
  );

  it('parks what stays unknown after the last check, tells an operator, and asks no more', async () => {
    await leftOpen(8);
    let asked = 0;
    bank.answering = async () => {
      asked += 1;
      return 'unknown';
    };
    await checkedUntil(async () => expect(await messages.undecided()).toHaveLength(1));
    await application.check();
    expect([asked, await open(), await application.published()]).toEqual([3, 0, []]);
    expect(application.incidents.at(-1)).toMatchObject({
      code: 'OUTBOX_MESSAGE_UNDECIDED',
      fields: { topic: 'charged' },
    });
  });

  const parked = async (order: number): Promise<string> => {
    await leftOpen(order);
    await checkedUntil(async () => expect(await messages.undecided()).toHaveLength(1));
    const [{ message } = { message: { id: '' } }] = await messages.undecided();
    return message.id;
  };

  it('asks again about what is resumed', async () => {
    const id = await parked(9);
    bank.answering = async () => 'commit';
    await messages.resume(id);
    await checkedUntil(async () => expect(await application.published()).toEqual([{ order: 9 }]));
    await expect(messages.resume(id)).rejects.toMatchObject({ code: 'MESSAGE_NOT_UNDECIDED' });
  });

  it('lets a person commit or roll back what is parked, once', async () => {
    await messages.commit(await parked(10));
    const id = await parked(11);
    await messages.rollback(id);
    for (const again of ['commit', 'rollback', 'resume'] as const) {
      await expect(messages[again](id)).rejects.toMatchObject({ code: 'MESSAGE_NOT_UNDECIDED', kind: 'conflict' });
    }
    expect([await messages.undecided(), await application.published()]).toEqual([[], [{ order: 10 }]]);
    await expect(messages.commit('no id')).rejects.toThrow(ConfigurationError);
  });

  it.each([
    ['rejects', () => Promise.reject(new Error('bank is closed'))],
    ['answers something else', async () => 'maybe' as CheckAnswer],
  ])('counts as unknown, and reports, that a check %s', async (_how, answering) => {
    await leftOpen(12);
    bank.answering = answering;
    await checkedUntil(async () => expect(await messages.undecided()).toHaveLength(1));
    expect(codes().slice(-2)).toEqual(['OUTBOX_CHECK_FAILED', 'OUTBOX_MESSAGE_UNDECIDED']);
  });

  it('does not believe that nothing was done while the work can still be running', async () => {
    bank.charging = () => Promise.reject(CRASHED);
    await expect(bank.chargeSlowly({ order: 13 })).rejects.toBe(CRASHED);
    let asked = 0;
    bank.answering = async () => {
      asked += 1;
      return 'rollback';
    };
    const beganAt = performance.now();
    await checkedUntil(async () => expect(await open()).toBe(0));
    expect(performance.now() - beganAt).toBeGreaterThan(250);
    expect(asked).toBeGreaterThan(1);
    expect(await messages.undecided()).toEqual([]);
  });

  it('refuses, loudly, the commit of work that is done after the message was rolled back', async () => {
    bank.answering = async () => 'rollback';
    bank.charging = () => checkedUntil(async () => expect(await open()).toBe(0));
    await expect(bank.charge({ order: 14 })).rejects.toMatchObject({ code: 'MESSAGE_ALREADY_ROLLED_BACK' });
    expect(application.incidents.at(-1)).toMatchObject({ code: 'OUTBOX_LATE_COMMIT_REFUSED' });
    expect(await application.published()).toEqual([]);
  });

  it('is not asked where the work itself says that nothing was done, also by an error of its own class', async () => {
    class CardDeclinedError extends NotAppliedError {}
    for (const refusal of [new NotAppliedError('declined'), new CardDeclinedError('declined')]) {
      bank.charging = () => Promise.reject(refusal);
      await expect(bank.charge({ order: 15 })).rejects.toBe(refusal);
      expect([await open(), await application.published()]).toEqual([0, []]);
    }
  });

  it.each<[string, Error]>([
    ['of kind busy', new LockstepError({ code: 'LOCK_BUSY', kind: 'busy', message: 'somebody else has it' })],
    ['of kind conflict', new LockstepError({ code: 'FENCE_STALE', kind: 'conflict', message: 'the fence is stale' })],
    ['of kind misuse', new LockstepError({ code: 'NOT_OPEN', kind: 'misuse', message: 'no transaction' })],
    ['that is caused by one that says so', new Error('failed', { cause: new NotAppliedError('declined') })],
  ])('is asked after an error %s: an earlier step may have moved the money', async (_kind, error) => {
    bank.charging = () => Promise.reject(error);
    await expect(bank.charge({ order: 15 })).rejects.toBe(error);
    expect(await open()).toBe(1);
    bank.answering = async () => 'commit';
    await checkedUntil(async () => expect(await open()).toBe(0));
    expect(await application.published()).toEqual([{ order: 15 }]);
  });

  it('lets nobody contradict by hand what a transaction has decided, or can still decide', async () => {
    const init = { topic: 'charged', body: { order: 16 }, ...TIMES, checks: 1 };
    await messages.run(init, async (half) => {
      const local = await postgres.begin(database.url);
      await half.join(local.tx);
      await checkedUntil(async () => expect(await messages.undecided()).toHaveLength(1));
      await expect(messages.rollback(half.id)).rejects.toThrow(/still open/);
      await local.commit();
      await expect(messages.rollback(half.id)).rejects.toThrow(/its transaction committed/);
      await messages.commit(half.id);
    });
    expect(await application.published()).toEqual([{ order: 16 }]);
  });

  it('refuses the transaction that joins after a person has rolled its message back', async () => {
    const attempt = messages.run({ topic: 'charged', body: { order: 17 }, ...TIMES }, async (half) => {
      await application.store.park(half.id);
      await messages.rollback(half.id);
      await application.sql.transaction((tx) => half.join(tx));
    });
    await expect(attempt).rejects.toMatchObject({ code: 'MESSAGE_ALREADY_ROLLED_BACK' });
    expect(await application.published()).toEqual([]);
  });

  describe('of another process, which does not have the check,', () => {
    const GONE = 'Gone.check';
    let other: HalfApplication;
    let aheadMs: number;

    beforeEach(async () => {
      other = await startHalves(postgres, database.url);
      aheadMs = 0;
      const now = performance.now;
      vi.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + aheadMs);
    });
    afterEach(async () => {
      vi.restoreAllMocks();
      await other.app.close();
    });

    const leftToGone = async (checks: number): Promise<void> => {
      const init = { topic: 'charged', body: {}, check: GONE, ...TIMES, checks };
      await expect(messages.run(init, () => Promise.reject(CRASHED))).rejects.toBe(CRASHED);
    };
    /** Two looks, a minute apart. */
    const lookForAMinute = async (between: () => Promise<void> = async () => undefined): Promise<void> => {
      await other.check();
      await between();
      aheadMs += 61_000;
      await other.check();
    };
    const isDue = () => eventually(async () => expect(await application.store.waiting()).toHaveLength(1));

    it('leaves the message alone as long as anybody asks', async () => {
      let asked = 0;
      messages.registerCheck(GONE, async () => {
        asked += 1;
        return 'unknown';
      });
      await leftToGone(9_000);
      for (let minute = 0; minute < 4; minute += 1) {
        await isDue();
        await lookForAMinute(async () => {
          await application.check();
          await isDue();
        });
      }
      expect(other.incidents).toEqual([]);
      const [row] = await application.sql.query<{ checks: number }>('SELECT checks FROM lockstep_outbox_prepared');
      expect(row?.checks).toBe(asked);
    });

    it('reports after a minute that nobody asks, counts each check, and parks the message after the last one', async () => {
      await leftToGone(2);
      await isDue();
      await other.check();
      expect([other.incidents, await open()]).toEqual([[], 1]);
      for (let asked = 0; asked < 2; asked += 1) {
        await isDue();
        await lookForAMinute();
      }
      const missing = { code: 'OUTBOX_CHECKER_MISSING', fields: { checker: GONE } };
      const parkedOne = { code: 'OUTBOX_MESSAGE_UNDECIDED', fields: { checker: GONE } };
      expect(other.incidents).toMatchObject([missing, missing, parkedOne]);
      const [undecided] = await messages.undecided();
      await messages.commit(undecided?.message.id ?? '');
      expect([await open(), await application.published()]).toEqual([0, [{}]]);
    });
  });

  it('refuses to run with a check or compensator that nobody has registered, or two of one name', async () => {
    const unknown = messages.run({ topic: 'charged', body: {}, check: 'Nobody.knows' }, async () => 1);
    await expect(unknown).rejects.toThrow(/No check 'Nobody.knows' was registered/);
    const nobody = messages.run({ topic: 'charged', body: {}, compensator: 'nobody' }, async () => 1);
    await expect(nobody).rejects.toThrow(/No compensator 'nobody' was registered/);
    expect(() => messages.registerCheck('Bank.wasCharged', async () => 'commit')).toThrow(/two of the check/);
    for (const name of ['No Name', 'lockstep.alarm']) {
      expect(() => messages.registerCompensator(name, async () => undefined)).toThrow(/'compensator'/);
    }
    expect(await open()).toBe(0);
  });
});

describe('A check that hangs', () => {
  const database = postgres.use();
  let application: HalfApplication;
  let messages: TransactionalMessages;
  let answer: (how: CheckAnswer) => void;
  let asked: number;

  beforeEach(async () => {
    application = await startHalves(postgres, database.url, [], { relay: true });
    messages = application.app.get(TransactionalMessages);
    asked = 0;
    const answering = new Promise<CheckAnswer>((resolve) => {
      answer = resolve;
    });
    messages.registerCheck('Bank.hangs', async () => {
      asked += 1;
      return answering;
    });
    messages.registerCheck('Shop.answers', async () => 'commit');
  });
  afterEach(() => application.app.close());

  const leftTo = async (check: string, name: string): Promise<void> => {
    const init = { topic: 'charged', body: name, check, checkAfter: 1, maxTransactionAge: 0 };
    await expect(messages.run(init, () => Promise.reject(CRASHED))).rejects.toBe(CRASHED);
  };

  it('holds up neither the other checks nor the tombstones, and has the rest of its own wait', async () => {
    for (let n = 0; n < 12; n += 1) await leftTo('Bank.hangs', 'bank');
    await eventually(async () => expect(asked).toBe(4));
    await leftTo('Shop.answers', 'shop');
    const joined = { topic: 'charged', body: 'joined', checkAfter: 300 };
    const local = await postgres.begin(database.url);
    await messages.run(joined, (half) => half.join(local.tx));
    await local.commit();
    await eventually(async () => expect((await messages.facts()).prepared).toBe(12), { timeoutMs: 4_000 });
    expect((await rows()).toSorted()).toEqual(['joined', 'shop']);
    expect(asked).toBe(4);
    answer('commit');
    await eventually(async () => expect((await messages.facts()).prepared).toBe(0));
    expect(asked).toBe(12);
  });

  it('holds up no shutdown, and its answer is not heard after it', async () => {
    await leftTo('Bank.hangs', 'bank');
    await eventually(async () => expect(asked).toBe(1));
    const beganAt = performance.now();
    await application.app.close();
    expect(performance.now() - beganAt).toBeLessThan(1_500);
    answer('commit');
    await new Promise((resolve) => setImmediate(resolve));
    expect(application.incidents).toEqual([]);
    const other = await startHalves(postgres, database.url);
    expect(await other.store.facts()).toMatchObject({ prepared: 1 });
    await other.app.close();
  });

  const rows = async (): Promise<unknown[]> => {
    const all = await application.sql.query<{ body: string }>(
      "SELECT payload AS body FROM lockstep_outbox_prepared WHERE state = 'committed'",
    );
    return all.map(({ body }) => JSON.parse(body) as unknown);
  };
});

describe('At boot', () => {
  const database = postgres.use();

  const wrongly = (name: string, options: object, scope = Scope.DEFAULT) => {
    class Wrong {
      async work(_body: object): Promise<void> {}
      async check(_id: string, _body: object): Promise<CheckAnswer> {
        return 'unknown';
      }
      async undo(_body: object, _notice: FailureNotice): Promise<void> {}
    }
    Object.defineProperty(Wrong, 'name', { value: name });
    const descriptor = Object.getOwnPropertyDescriptor(Wrong.prototype, 'work') as TypedPropertyDescriptor<
      Wrong['work']
    >;
    TransactionalMessage('charged', options)(Wrong.prototype, 'work', descriptor);
    Object.defineProperty(Wrong.prototype, 'work', descriptor);
    Injectable({ scope })(Wrong);
    return Wrong;
  };

  it.each<[string, ReturnType<typeof wrongly>[], RegExp]>([
    [
      'a check that the class does not have',
      [wrongly('A', { check: 'nothing' })],
      /names 'nothing', and A has no such method/,
    ],
    ['a compensator that is missing', [wrongly('B', { compensate: 'nothing' })], /names 'nothing', and B has no/],
    ['a class that is made for each request', [wrongly('C', { check: 'check' }, Scope.REQUEST)], /made anew/],
    ['a class that is made for each dependent', [wrongly('F', { check: 'check' }, Scope.TRANSIENT)], /made anew/],
    [
      'two classes of one name',
      [wrongly('D', { check: 'check' }), wrongly('D', { check: 'check' })],
      /two of the check 'D.check'/,
    ],
  ])('%s keeps the application from starting', async (_what, providers, message) => {
    await expect(startHalves(postgres, database.url, providers)).rejects.toThrow(message);
  });

  it.each<[string, object]>([
    ['checkAfter', { checkAfter: 'soon' }],
    ['checks', { checks: 0 }],
    ['deadline', { deadline: '31d' }],
    ['maxTransactionAge', { checks: 1, maxTransactionAge: '1m' }],
    ['key', { key: 'order' }],
    ['delay', { delay: 'soon' }],
    ['callback', { callback: 'Not A Topic' }],
    ['options.chek', { chek: 'check' }],
  ])('a wrong %s is refused where it is written', (option, options) => {
    expect(() => wrongly('E', options)).toThrow(`@TransactionalMessage ${option}`);
  });

  it('a topic of our own is refused', () => {
    expect(() => TransactionalMessage('lockstep.failed')).toThrow(ConfigurationError);
  });
});
