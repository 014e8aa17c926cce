import 'reflect-metadata';
import { ConfigurationError } from '@lockstep/core';
import { Inbox, type Sql, type SqlTransaction } from '@lockstep/sql';
import { eventually, seed, seededRandom } from '@lockstep/testing';
import { v7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';
import { LOCK_POLL, TEST_SERVERS } from './support/test-servers.js';

const MIDNIGHT = Date.UTC(2026, 5, 2);

describe.each(TEST_SERVERS)('Inbox on $name', (server) => {
  const database = server.use();
  let application: SqlApplication;
  let sql: Sql;
  let inbox: Inbox;

  beforeAll(async () => {
    application = await startSql({ url: database.url, maxConnections: 8 });
    ({ sql } = application);
    inbox = application.app.get(Inbox);
    await inbox.prepare();
    await sql.execute('CREATE TABLE effect (message_id char(36))');
  });
  afterAll(() => application.app.close());
  beforeEach(async () => {
    for (const table of ['effect', 'lockstep_inbox']) await sql.execute(`DELETE FROM ${table}`);
  });

  const take = async (tx: SqlTransaction, messageId: string, consumer = 'points') => {
    const isFirst = await inbox.once(tx, consumer, messageId);
    if (isFirst) await tx.execute('INSERT INTO effect VALUES ($1)', [messageId]);
    return isFirst;
  };
  const receive = (messageId: string, consumer?: string) => sql.transaction((tx) => take(tx, messageId, consumer));
  const effects = async () => (await sql.query('SELECT message_id FROM effect')).length;

  it('lets the first copy of a message take effect, and no other', async () => {
    const id = v7();
    expect([await receive(id), await receive(id), await receive(id.toUpperCase())]).toEqual([true, false, false]);
    expect(await effects()).toBe(1);
  });

  it('lets each consumer have its own first copy', async () => {
    const id = v7();
    expect([await receive(id, 'points'), await receive(id, 'mail')]).toEqual([true, true]);
  });

  it('forgets a copy whose transaction rolled back', async () => {
    const id = v7();
    const failing = sql.transaction(async (tx) => {
      expect(await take(tx, id)).toBe(true);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await receive(id)).toBe(true);
    expect(await effects()).toBe(1);
  });

  it('gives copies that run at the same time one effect', async () => {
    const id = v7();
    const answers = await Promise.all(Array.from({ length: 8 }, () => receive(id)));
    expect(answers.filter((first) => first)).toHaveLength(1);
    expect(await effects()).toBe(1);
  });

  it.each([
    ['made just before midnight', MIDNIGHT - 1],
    ['made just after midnight', MIDNIGHT],
    ['made at this moment', Date.now()],
  ])('gives two copies that are open at the same time one effect, %s', async (_, madeAt) => {
    const id = v7({ msecs: madeAt });
    let commitFirst: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      commitFirst = resolve;
    });
    const entered = { first: false };
    const first = sql.transaction(async (tx) => {
      const answer = await take(tx, id);
      entered.first = true;
      await held;
      return answer;
    });
    await eventually(() => expect(entered.first).toBe(true));
    const second = receive(id);
    await eventually(async () => expect(await sql.query(server.findWaiting)).toHaveLength(1), LOCK_POLL);
    commitFirst();
    expect([await first, await second]).toEqual([true, false]);
    expect(await effects()).toBe(1);
  });

  it('lets one copy go on when the first of many rolls back; what the others are told is never that they are first', async () => {
    const id = v7();
    let giveUp: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      giveUp = resolve;
    });
    const entered = { first: false };
    const first = sql.transaction(async (tx) => {
      await take(tx, id);
      entered.first = true;
      await held;
      throw new Error('rolled back');
    });
    await eventually(() => expect(entered.first).toBe(true));
    const others = Promise.allSettled([1, 2, 3].map(() => receive(id)));
    await eventually(async () => expect(await sql.query(server.findWaiting)).toHaveLength(3), LOCK_POLL);
    giveUp();
    await expect(first).rejects.toThrow('rolled back');
    const answers = await others;
    expect(answers.filter((each) => each.status === 'fulfilled' && each.value)).toHaveLength(1);
    for (const each of answers) {
      if (each.status === 'rejected') expect(each.reason).toMatchObject(server.deadlock);
    }
    expect(await effects()).toBe(1);
  });

  it('balances: every message has one effect, whatever is repeated, rolled back or cut off in between', async () => {
    const random = seededRandom(seed());
    const messages = Array.from({ length: 40 }, (_, index) => v7({ msecs: MIDNIGHT - 20 + index }));
    const acknowledged = new Set<string>();
    const deliver = async (id: string, fate: number): Promise<void> => {
      await sql.transaction(async (tx) => {
        await take(tx, id);
        if (fate < 0.2) throw new Error('rolled back');
        if (fate < 0.3) await tx.query(server.endOwnSession);
      });
      acknowledged.add(id);
    };
    const consume = async (): Promise<void> => {
      while (acknowledged.size < messages.length) {
        await deliver(random.pick(messages), random.next()).catch(() => undefined);
      }
    };
    await Promise.all(Array.from({ length: 6 }, consume));
    const ledger = await sql.query('SELECT count(*) AS effects, count(DISTINCT message_id) AS messages FROM effect');
    expect(ledger).toEqual([{ effects: '40', messages: '40' }]);
  }, 60_000);

  it('tells of a list which are first copies, in one statement, however they are written', async () => {
    const [known, fresh, other] = [v7({ msecs: MIDNIGHT - 1 }), v7({ msecs: MIDNIGHT }).toUpperCase(), v7()] as const;
    await receive(known);
    await receive(other, 'mail');
    const first = await sql.transaction((tx) => inbox.onceMany(tx, 'points', [other, known, fresh, fresh, known]));
    expect([...first].sort()).toEqual([fresh, other].sort());
    const again = await sql.transaction((tx) => inbox.onceMany(tx, 'points', [fresh.toLowerCase(), other]));
    expect([...again]).toEqual([]);
    expect([await receive(fresh), await receive(known, 'mail')]).toEqual([false, true]);
    expect([...(await sql.transaction((tx) => inbox.onceMany(tx, 'points', [])))]).toEqual([]);
  });

  it('forgets a list whose transaction rolled back, and refuses it when one id is none', async () => {
    const ids = [v7(), v7()];
    const failing = sql.transaction(async (tx) => {
      expect((await inbox.onceMany(tx, 'points', ids)).size).toBe(2);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    const refused = sql.transaction((tx) => inbox.onceMany(tx, 'points', [...ids, 'x']));
    await expect(refused).rejects.toMatchObject({ code: 'MESSAGE_ID_INVALID' });
    expect((await sql.transaction((tx) => inbox.onceMany(tx, 'points', ids))).size).toBe(2);
  });

  it('lets lists with messages in common, in any order, take effect once each and never in a deadlock', async () => {
    const random = seededRandom(seed());
    for (let round = 0; round < 10; round += 1) {
      const ids = Array.from({ length: 12 }, (_, index) => v7({ msecs: MIDNIGHT - 6 + index }));
      const takeList = async (): Promise<readonly string[]> =>
        sql.transaction(async (tx) => [...(await inbox.onceMany(tx, `round${round}`, random.shuffle(ids)))]);
      const taken = await Promise.all([takeList(), takeList(), takeList(), takeList()]);
      expect(taken.flat().sort()).toEqual(ids.sort());
    }
  });

  it('files a message under its own day, whenever it arrives', async () => {
    await receive(v7({ msecs: MIDNIGHT - 1 }));
    await receive(v7({ msecs: MIDNIGHT }));
    const days = await sql.query('SELECT CAST(day AS char(10)) AS day FROM lockstep_inbox ORDER BY 1');
    expect(days).toEqual([{ day: '2026-06-01' }, { day: '2026-06-02' }]);
  });

  it('purges what was received longer ago, in batches, and nothing else', async () => {
    await sql.execute(server.fillInbox(2_500, 20));
    const recent = v7();
    const late = v7({ msecs: Date.now() - 20 * 86_400_000 });
    await receive(recent);
    await receive(late);
    expect(await inbox.purge(14 * 86_400_000)).toBe(2_500);
    expect([await receive(recent), await receive(late)]).toEqual([false, false]);
  });

  it('passes over what a handler has in hand when it purges, and does not wait for it', async () => {
    await sql.execute(server.fillInbox(3, 20));
    await sql.transaction(async (tx) => {
      await tx.query('SELECT day FROM lockstep_inbox ORDER BY day, consumer, message_id LIMIT 1 FOR UPDATE');
      expect(await inbox.purge(14 * 86_400_000)).toBe(2);
    });
    expect(await inbox.purge(14 * 86_400_000)).toBe(1);
  });

  it('is purged by the application itself, side by side with others', async () => {
    await sql.execute(server.fillInbox(1_500, 3));
    const reapers = await Promise.all([1, 2].map(() => startSql({ url: database.url, inboxRetention: '2d' })));
    await Promise.all(reapers.map(({ app }) => app.get(Inbox).prepare()));
    await eventually(async () => expect(await sql.query('SELECT 1 FROM lockstep_inbox')).toEqual([]));
    await Promise.all(reapers.map(({ app }) => app.close()));
  });

  it('refuses ids that are no UUID of version 7, and names that are out of bounds', async () => {
    const day = '018f0000-0000-7000-8000-000000000000';
    for (const id of [
      '',
      'x',
      '6f0e9b1c-9c5e-4b5e-8a53-2f0f3f9f7c10',
      `${day} `,
      'ffffffff-ffff-7fff-bfff-ffffffffffff',
    ]) {
      await expect(receive(id)).rejects.toMatchObject({ code: 'MESSAGE_ID_INVALID', kind: 'conflict' });
    }
    await expect(receive(day, 'a b')).rejects.toBeInstanceOf(ConfigurationError);
    await expect(receive(day, 'x'.repeat(201))).rejects.toBeInstanceOf(ConfigurationError);
  });
});
