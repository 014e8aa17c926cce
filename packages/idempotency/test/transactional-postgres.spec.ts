import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import type { TransactionalRequest, TransactionalRun, TransactionalWork } from '@lockstep/idempotency';
import { describeTransactionalStoreContract } from '@lockstep/idempotency/contract';
import { SqlTransactionalStore } from '@lockstep/idempotency/sql';
import type { Sql, SqlTransaction, TransactionOptions } from '@lockstep/sql';
import { eventually, startFaultProxy } from '@lockstep/testing';
import { usePostgres } from '@lockstep/testing/vitest';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenSqlStore, openSqlStore } from './support/sql-stores.js';

const postgres = usePostgres();
const EFFECTS = 'CREATE TABLE IF NOT EXISTS effect (name text)';

describeTransactionalStoreContract({
  name: 'postgres',
  open: async () => {
    const [mine, others] = [await openSqlStore(postgres.url), await openSqlStore(postgres.url)];
    await mine.sql.execute(EFFECTS);
    const current = () => mine.sql.current() ?? others.sql.requireCurrent('the test');
    return {
      store: mine.store,
      other: others.store,
      write: async (name) => void (await current().execute('INSERT INTO effect VALUES ($1)', [name])),
      isWritten: async (name) => (await mine.sql.query('SELECT FROM effect WHERE name = $1', [name])).length === 1,
      inTransaction: (fn) => mine.sql.transaction(fn),
      close: async () => void (await Promise.all([mine.close(), others.close()])),
    };
  },
});

describe('SqlTransactionalStore on Postgres', () => {
  let opened: OpenSqlStore;
  let direct: pg.Client;

  beforeAll(async () => {
    opened = await openSqlStore(postgres.url);
    direct = new pg.Client(postgres.url);
    await direct.connect();
    await direct.query(`${EFFECTS}; CREATE TABLE account (id int PRIMARY KEY, amount int NOT NULL);
      INSERT INTO account VALUES (1, 0), (2, 0)`);
    await opened.store.transact(request(), done('the tables are there'));
  });
  afterAll(async () => {
    await direct.end();
    await opened.close();
  });

  /** A record as a store with leases leaves it behind. */
  async function leave(id: string, row: Readonly<Record<string, string>>): Promise<void> {
    const all = { state: "'P'", fingerprint: "'fp'", policy: "'U'", past: '0', ...row };
    const columns = Object.keys(all).map((column) => `, ${column}`);
    const values = Object.values(all).map((value) => `, ${value}`);
    await direct.query(
      `INSERT INTO lockstep_idempotency (id, owner, fence, operation ${columns.join('')})
       VALUES ($1, 'someone', 7, 'POST /x' ${values.join('')})`,
      [id],
    );
  }
  const ago = `clock_timestamp() - interval '1 hour'`;
  const ahead = `clock_timestamp() + interval '1 hour'`;

  it.each<[string, Readonly<Record<string, string>>, object]>([
    ['running under a lease', { lease_until: ahead }, { outcome: 'busy' }],
    ['abandoned', { lease_until: ago }, { outcome: 'uncertain' }],
    ['uncertain', { state: "'U'", uncertain_since: ago }, { outcome: 'uncertain' }],
    ['abandoned, policy retry', { lease_until: ago, policy: "'R'" }, { outcome: 'executed', value: true }],
    ['released', { state: "'R'", expires_at: ahead }, { outcome: 'executed', value: false }],
    ['released after an owner vanished', { state: "'R'", past: '2', expires_at: ahead }, { value: true }],
    ['issued', { state: "'I'", fingerprint: 'NULL', expires_at: ahead }, { outcome: 'executed', value: false }],
    ['completed', { state: "'C'", response: "'done'", expires_at: ahead }, { outcome: 'completed', response: 'done' }],
    ['completed and over', { state: "'C'", response: "'done'", expires_at: ago }, { value: false }],
    ['of another payload', { state: "'R'", fingerprint: "'x'", expires_at: ahead }, { outcome: 'mismatch' }],
    ['of another payload, running', { fingerprint: "'x'", lease_until: ahead }, { outcome: 'mismatch' }],
    ['of another payload and over', { state: "'C'", fingerprint: "'x'", expires_at: ago }, { outcome: 'executed' }],
  ])('meets a record that is %s', async (_name, row, expected) => {
    const ask = request();
    await leave(ask.id, row);
    const outcome = await opened.store.transact(ask, async ({ recovered }) => ({
      response: 'r',
      value: recovered,
      effects: 'keep',
    }));
    expect(outcome).toMatchObject(expected);
  });

  it('makes no claim on a record whose owner renews its lease at this moment', async () => {
    const ask = request();
    await leave(ask.id, { lease_until: ago, policy: "'R'" });
    await direct.query('BEGIN');
    await direct.query(`UPDATE lockstep_idempotency SET lease_until = ${ahead} WHERE id = $1`, [ask.id]);
    const outcome = opened.store.transact(ask, done('mine'));
    await eventually(async () => expect(await waiting()).toBe(1));
    await direct.query('COMMIT');
    expect(await outcome).toEqual({ outcome: 'busy' });
  });

  it('makes no claim on a record whose owner has renewed its lease between look and claim', async () => {
    const ask = request();
    await leave(ask.id, { lease_until: ago, policy: "'R'" });
    const renewing = new SqlTransactionalStore(
      beforeTaking(opened.sql, () =>
        direct.query(`UPDATE lockstep_idempotency SET lease_until = ${ahead} WHERE id = $1`, [ask.id]),
      ),
    );
    expect(await renewing.transact(ask, done('mine'))).toEqual({ outcome: 'busy' });
  });

  it('claims what the reaper has just deleted, and what it is about to delete', async () => {
    const ask = request({ retentionMs: 1 });
    await opened.store.transact(ask, done('first'));
    await eventually(async () => expect(await over(ask.id)).toBe(true));
    await direct.query('BEGIN');
    await direct.query(REAP);
    const second = opened.store.transact(ask, done('second'));
    await eventually(async () => expect(await waiting()).toBe(1));
    await direct.query('COMMIT');
    expect(await second).toEqual({ outcome: 'executed', value: 'second' });
  });

  it('leaves to the reaper nothing that still runs, and all that is over', async () => {
    const running = request({ retentionMs: 1 });
    await opened.store.transact(running, done('first'));
    await eventually(async () => expect(await over(running.id)).toBe(true));
    const again = opened.store.transact(running, async () => {
      await direct.query(REAP);
      return { response: 'second', value: 'second', effects: 'keep' };
    });
    expect(await again).toEqual({ outcome: 'executed', value: 'second' });
    await eventually(async () => expect(await over(running.id)).toBe(true));
    await direct.query(REAP);
    expect((await direct.query('SELECT FROM lockstep_idempotency WHERE id = $1', [running.id])).rowCount).toBe(0);
  });

  it("gives the transaction's own lock timeout back before the work", async () => {
    for (const waitMs of [0, 5_000]) {
      const timeout = await opened.store.transact(request({ waitMs }), async () => {
        const [row] = await opened.sql.requireCurrent('test').query<{ is: string }>('SHOW lock_timeout');
        return { response: '', value: row, effects: 'keep' };
      });
      expect(timeout).toMatchObject({ value: { lock_timeout: '0' } });
    }
  });

  it("calls a lock that the work does not get the work's own error, not somebody else's operation", async () => {
    await direct.query('BEGIN; SELECT FROM account WHERE id = 1 FOR UPDATE');
    const outcome = opened.store.transact(request(), async () => {
      await opened.sql.requireCurrent('test').query('SELECT FROM account WHERE id = 1 FOR UPDATE NOWAIT');
      return { response: '', value: '', effects: 'keep' };
    });
    await expect(outcome).rejects.toMatchObject({ code: '55P03' });
    await direct.query('ROLLBACK');
  });

  it.each(['a statement', 'only the commit'])(
    'runs again in a new transaction what %s cannot serialize',
    async (when) => {
      const runs: TransactionalRun[] = [];
      const outcome = await opened.store.transact(request({ isolation: 'serializable' }), async (run) => {
        const isFirst = runs.push(run) === 1;
        const tx = opened.sql.requireCurrent('test');
        await tx.query('SELECT sum(amount) FROM account');
        // Each reads what the other has not yet written; the first to commit wins.
        if (isFirst && when === 'a statement') await writeSkew();
        await tx.execute('UPDATE account SET amount = amount + 1 WHERE id = 2');
        if (isFirst && when === 'only the commit') tx.beforeCommit?.(writeSkew);
        return { response: '', value: runs.length, effects: 'keep' };
      });
      expect(outcome).toEqual({ outcome: 'executed', value: 2 });
      expect(runs.map(({ recovered }) => recovered)).toEqual([false, true]);
      expect(runs[1]?.fence).toBeGreaterThan(runs[0]?.fence ?? 0n);
    },
  );

  it('runs the victim of a deadlock again', async () => {
    const { rows } = await direct.query('SELECT amount FROM account WHERE id = 1');
    let runs = 0;
    await direct.query("BEGIN; SET LOCAL deadlock_timeout = '1h'; SELECT FROM account WHERE id = 1 FOR UPDATE");
    let theirs: Promise<unknown> | undefined;
    const outcome = await opened.store.transact(request(), async () => {
      runs += 1;
      const tx = opened.sql.requireCurrent('test');
      await tx.execute('UPDATE account SET amount = amount + 1 WHERE id = 2');
      theirs ??= direct.query('UPDATE account SET amount = amount + 10 WHERE id = 2; COMMIT');
      await tx.execute('UPDATE account SET amount = amount + 1 WHERE id = 1');
      return { response: '', value: 'mine', effects: 'keep' };
    });
    await theirs;
    expect([outcome, runs]).toEqual([{ outcome: 'executed', value: 'mine' }, 2]);
    expect((await direct.query('SELECT amount FROM account WHERE id = 1')).rows[0].amount).toBe(rows[0].amount + 1);
  });

  it('gives up after three runs, with nothing applied and the key free', async () => {
    const ask = request();
    let runs = 0;
    const outcome = opened.store.transact(ask, async () => {
      runs += 1;
      await opened.sql.requireCurrent('test').execute('INSERT INTO effect VALUES ($1)', [ask.id]);
      throw new Error('wrapped by a library', { cause: Object.assign(new Error('no luck'), { code: '40001' }) });
    });
    await expect(outcome).rejects.toMatchObject({ code: 'OPERATION_CONTENDED', kind: 'busy', retryAfterMs: 1_000 });
    expect(runs).toBe(3);
    expect(await effects(ask.id)).toBe(0);
    expect(await opened.store.transact(ask, done('free'))).toMatchObject({ outcome: 'executed' });
  });

  it.each(['repeatable read', 'serializable'] as const)(
    'replays to a duplicate of another process that waited at %s',
    async (isolation) => {
      const other = await openSqlStore(postgres.url);
      const ask = request({ isolation });
      let second: Promise<unknown> | undefined;
      const first = opened.store.transact(ask, async () => {
        second = other.store.transact(ask, done('second'));
        await eventually(async () => expect(await waiting()).toBe(1));
        return { response: 'first', value: 'first', effects: 'keep' };
      });
      expect(await first).toEqual({ outcome: 'executed', value: 'first' });
      expect(await second).toEqual({ outcome: 'completed', response: 'first' });
      await other.close();
    },
  );

  it('goes on waiting after one statement has waited as long as a statement should', async () => {
    const other = await openSqlStore(postgres.url);
    const ask = request({ waitMs: 20_000 });
    let second: Promise<unknown> | undefined;
    const pids = new Set<unknown>();
    const first = opened.store.transact(ask, async () => {
      second = other.store.transact(ask, done('second'));
      await eventually(
        async () => {
          for (const { at } of await waiters()) pids.add(at);
          expect(pids.size).toBeGreaterThan(1);
        },
        { timeoutMs: 10_000 },
      );
      return { response: 'first', value: 'first', effects: 'keep' };
    });
    expect(await first).toEqual({ outcome: 'executed', value: 'first' });
    expect(await second).toEqual({ outcome: 'completed', response: 'first' });
    await other.close();
  });

  it('says that the outcome is unknown when the answer to COMMIT is lost; the record tells the repetition', async () => {
    const proxy = await startFaultProxy({ target: postgres.url });
    const shaky = await openSqlStore(proxy.urlFor(postgres.url), { commandTimeout: '1s', commitTimeout: '1s' });
    const ask = request();
    const lost = shaky.store.transact(ask, async () => {
      const tx = shaky.sql.requireCurrent('test');
      await tx.execute('INSERT INTO effect VALUES ($1)', [ask.id]);
      tx.beforeCommit?.(async () => proxy.dropAfter(0, 'toClient'));
      return { response: 'it did', value: '', effects: 'keep' };
    });
    await expect(lost).rejects.toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN', kind: 'unknown' });
    expect(await opened.store.transact(ask, done('again'))).toEqual({ outcome: 'completed', response: 'it did' });
    expect(await effects(ask.id)).toBe(1);
    await proxy.stop();
    await shaky.close();
  });

  it('applies nothing where the connection is lost before the commit, and the key is free', async () => {
    const proxy = await startFaultProxy({ target: postgres.url });
    const shaky = await openSqlStore(proxy.urlFor(postgres.url));
    const ask = request();
    const lost = shaky.store.transact(ask, async () => {
      await shaky.sql.requireCurrent('test').execute('INSERT INTO effect VALUES ($1)', [ask.id]);
      proxy.cut();
      return { response: 'refused', value: '', effects: 'undo' };
    });
    await expect(lost).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'not-applied' });
    expect(await opened.store.transact(ask, done('again'))).toEqual({ outcome: 'executed', value: 'again' });
    await proxy.stop();
    await shaky.close();
  });

  it('refuses to commit for a transaction that has removed its own claim', async () => {
    const ask = request();
    const outcome = opened.store.transact(ask, async () => {
      await opened.sql.requireCurrent('test').execute('DELETE FROM lockstep_idempotency WHERE id = $1', [ask.id]);
      return { response: '', value: '', effects: 'keep' };
    });
    await expect(outcome).rejects.toMatchObject({ code: 'TRANSACTION_MISUSE' });
  });

  async function writeSkew(): Promise<void> {
    await direct.query('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT sum(amount) FROM account');
    await direct.query('UPDATE account SET amount = amount + 1 WHERE id = 1; COMMIT');
  }

  async function effects(name: string): Promise<number | null> {
    return (await direct.query('SELECT FROM effect WHERE name = $1', [name])).rowCount;
  }

  async function over(id: string): Promise<boolean> {
    const { rows } = await direct.query(
      'SELECT expires_at <= clock_timestamp() AS is FROM lockstep_idempotency WHERE id = $1',
      [id],
    );
    return rows[0]?.is === true;
  }

  /** Sessions of this database that wait for a lock, by when they began to. */
  async function waiters(): Promise<readonly { readonly at: string }[]> {
    const { rows } = await direct.query(
      `SELECT query_start::text AS at FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return rows;
  }

  async function waiting(): Promise<number> {
    return (await waiters()).length;
  }
});

const REAP = `DELETE FROM lockstep_idempotency WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM lockstep_idempotency WHERE expires_at <= clock_timestamp() FOR UPDATE SKIP LOCKED))`;

function request(change: Partial<TransactionalRequest> = {}): TransactionalRequest {
  const id = randomBytes(32).toString('base64url');
  const owner = randomBytes(16).toString('hex');
  return {
    id,
    owner,
    fingerprint: 'fp',
    operation: 'POST /bookings',
    retentionMs: 60_000,
    waitMs: 10_000,
    ...change,
  };
}

function done(value: string): () => Promise<TransactionalWork<string>> {
  return async () => ({ response: value, value, effects: 'keep' });
}

/** The same database, where something happens just before a record that is there is claimed. */
function beforeTaking(sql: Sql, happens: () => Promise<unknown>): Sql {
  const watched = (tx: SqlTransaction): SqlTransaction => ({
    dialect: tx.dialect,
    execute: (text, params) => tx.execute(text, params),
    query: async (text, params) => {
      if (text.startsWith('UPDATE')) await happens();
      return tx.query(text, params);
    },
    ...(tx.savepoint ? { savepoint: tx.savepoint.bind(tx) } : {}),
  });
  return Object.create(sql, {
    transaction: {
      value: <T>(fn: (tx: SqlTransaction) => Promise<T>, options: TransactionOptions) =>
        sql.transaction((tx) => fn(watched(tx)), options),
    },
  }) as Sql;
}
