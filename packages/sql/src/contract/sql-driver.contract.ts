import { randomBytes } from 'node:crypto';
import { isLockstepError } from '@lockstep/core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { BeginOptions, SqlDriver, SqlSession } from '../sql-driver.js';

export interface SqlDriverHarness {
  /** The driver, as reports shall name it. */
  readonly name: string;
  /** Opens the driver on a database that no other test uses. The suite closes it. */
  open(): Promise<SqlDriver>;
  /** Opens the driver on an address where nobody answers. The suite closes it. */
  openUnreachable(): Promise<SqlDriver>;
  /** A statement that takes a second or more. */
  readonly slowStatement: string;
  readonly capabilities: {
    /** Whether a failed statement leaves the whole transaction with nothing to commit, as on Postgres. */
    readonly abortsOnFailedStatement: boolean;
  };
}

const TIMEOUT_MS = 5_000;
const SHORT_MS = 250;
const BEGIN: BeginOptions = {
  isolation: 'read committed',
  commandTimeoutMs: TIMEOUT_MS,
  statementTimeoutMs: TIMEOUT_MS,
  commitTimeoutMs: TIMEOUT_MS,
};

/** What every driver of {@link SqlDriver} must keep. Call it at the top of a spec file. */
export function describeSqlDriverContract(harness: SqlDriverHarness): void {
  describe(`SqlDriver contract: ${harness.name}`, () => {
    const subject = new Subject();
    beforeAll(() => subject.open(harness));
    afterAll(() => subject.close());

    describeStatements(subject);
    describeTransactions(subject, harness);
    describeOutages(subject, harness);
    describeMigrationStatements(subject);
  });
}

function describeStatements(subject: Subject): void {
  it('gives the rows of a query and the number of rows that a statement touched', async () => {
    const [one, two] = [subject.name(), subject.name()];
    expect(await subject.insert(one)).toBe(1);
    expect(await subject.insert(two)).toBe(1);
    const touched = await subject.execute(`UPDATE ${subject.table} SET number = 7 WHERE name = $1 OR name = $2`, [
      one,
      two,
    ]);
    expect(touched).toBe(2);
    expect(await subject.execute(`UPDATE ${subject.table} SET number = 8 WHERE name = $1`, ['none'])).toBe(0);
    expect(await subject.query(`SELECT number FROM ${subject.table} WHERE name = $1`, [one])).toEqual([{ number: 7 }]);
  });

  it('takes placeholders in any order and more than once', async () => {
    const name = subject.name();
    await subject.insert(name);
    const text = `SELECT number FROM ${subject.table} WHERE number = $2 AND name = $1 AND $1 = name AND name <> '$2'`;
    expect(await subject.query(text, [name, 1])).toEqual([{ number: 1 }]);
  });

  it('passes the errors of the database on as they are', async () => {
    const error: unknown = await subject.query('SELECT nothing FROM nowhere').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Error);
    expect(isLockstepError(error)).toBe(false);
  });
}

function describeTransactions(subject: Subject, { capabilities }: SqlDriverHarness): void {
  it('shows to others what was committed, and not before', async () => {
    const name = subject.name();
    const session = await subject.begin();
    await session.execute(subject.insertion, [name]);
    expect(await subject.exists(name)).toBe(false);
    expect(await session.commit()).toBe('committed');
    expect(await subject.exists(name)).toBe(true);
  });

  it('shows nothing of what was rolled back', async () => {
    const name = subject.name();
    const session = await subject.begin();
    await session.execute(subject.insertion, [name]);
    await session.rollback();
    expect(await subject.exists(name)).toBe(false);
  });

  it('runs statements that are sent at the same time in the order in which they were sent', async () => {
    const name = subject.name();
    const session = await subject.begin();
    const touched = await Promise.all([
      session.execute(subject.insertion, [name]),
      session.execute(`UPDATE ${subject.table} SET number = number + 1 WHERE name = $1`, [name]),
      session.execute(`UPDATE ${subject.table} SET number = number * 10 WHERE name = $1`, [name]),
    ]);
    expect(touched).toEqual([1, 1, 1]);
    expect(await session.query(`SELECT number FROM ${subject.table}  WHERE name = $1`, [name])).toEqual([
      { number: 20 },
    ]);
    await session.rollback();
  });

  it('takes savepoints', async () => {
    const [kept, undone] = [subject.name(), subject.name()];
    const session = await subject.begin();
    await session.execute(subject.insertion, [kept]);
    await session.execute('SAVEPOINT one', []);
    await session.execute(subject.insertion, [undone]);
    await session.execute('ROLLBACK TO SAVEPOINT one', []);
    await session.execute('RELEASE SAVEPOINT one', []);
    await session.commit();
    expect([await subject.exists(kept), await subject.exists(undone)]).toEqual([true, false]);
  });

  it('gives a reader at repeatable read one view of the data', async () => {
    const name = subject.name();
    const session = await subject.begin({ isolation: 'repeatable read' });
    const count = () => session.query(`SELECT name FROM ${subject.table} WHERE name = $1`, [name]);
    expect(await count()).toEqual([]);
    await subject.insert(name);
    expect(await count()).toEqual([]);
    await session.rollback();
  });

  it.skipIf(!capabilities.abortsOnFailedStatement)(
    'says that COMMIT rolled back after a failed statement',
    async () => {
      const name = subject.name();
      const session = await subject.begin();
      await session.execute(subject.insertion, [name]);
      await expect(session.execute(subject.insertion, [name])).rejects.toThrow();
      expect(await session.commit()).toBe('rolled-back');
      expect(await subject.exists(name)).toBe(false);
    },
  );

  it('takes no statement after its end: the connection may serve somebody else', async () => {
    const name = subject.name();
    const [committed, rolledBack] = [await subject.begin(), await subject.begin()];
    await committed.commit();
    await rolledBack.rollback();
    for (const ended of [committed, rolledBack]) {
      await expect(ended.execute(subject.insertion, [name])).rejects.toMatchObject({ code: 'TRANSACTION_ENDED' });
      await expect(ended.query('SELECT 1', [])).rejects.toMatchObject({ code: 'TRANSACTION_ENDED' });
    }
    expect(await subject.exists(name)).toBe(false);
  });

  it('is one transaction also where it may begin with its first statement, and that one cannot be read', async () => {
    const name = subject.name();
    const session = await subject.begin({ withFirstStatement: true });
    await expect(session.execute('INSERT INTO INTO nowhere', [])).rejects.toThrow();
    const second = session.execute(subject.insertion, [name]);
    if (capabilities.abortsOnFailedStatement) await expect(second).rejects.toThrow();
    else expect(await second).toBe(1);
    await session.rollback();
    expect(await subject.exists(name)).toBe(false);
  });

  it('gives its connection back, however it ends', async () => {
    for (let round = 0; round < 30; round += 1) {
      const session = await subject.begin({ withFirstStatement: round % 3 === 0 });
      await (round % 2 === 0 ? session.commit() : session.rollback());
    }
  });
}

function describeOutages(subject: Subject, harness: SqlDriverHarness): void {
  const notApplied = { code: 'STORE_UNAVAILABLE', outcome: 'not-applied' };

  it('says in time that a server cannot be reached, so that nothing was applied', async () => {
    const driver = await harness.openUnreachable();
    const options = { ...BEGIN, commandTimeoutMs: SHORT_MS };
    await expect(driver.query('SELECT 1', [], SHORT_MS)).rejects.toMatchObject(notApplied);
    await expect(driver.execute('SELECT 1', [], SHORT_MS)).rejects.toMatchObject(notApplied);
    await expect(driver.begin(options)).rejects.toMatchObject(notApplied);
    await driver.close();
  });

  it('does not know what became of a statement outside a transaction that got no answer in time', async () => {
    const late = subject.driver.query(harness.slowStatement, [], SHORT_MS);
    await expect(late).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', outcome: 'unknown' });
    expect(await subject.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('knows that nothing was applied when a statement inside a transaction got no answer in time', async () => {
    const name = subject.name();
    const session = await subject.begin({ statementTimeoutMs: SHORT_MS });
    await session.execute(subject.insertion, [name]);
    await expect(session.query(harness.slowStatement, [])).rejects.toMatchObject(notApplied);
    await expect(session.query('SELECT 1', [])).rejects.toMatchObject(notApplied);
    await expect(session.commit()).rejects.toMatchObject(notApplied);
    expect(await subject.exists(name)).toBe(false);
  });
}

function describeMigrationStatements(subject: Subject): void {
  it('finds the table of migrations once it was made', async () => {
    const { findTable, createTable } = subject.driver.migrations;
    expect(await subject.query(findTable)).toEqual([]);
    await subject.execute(createTable);
    await subject.execute(createTable);
    expect(await subject.query(findTable)).toHaveLength(1);
    const row = ['contract', 1, '000001_a.sql', 'checksum'];
    const insertion = 'INSERT INTO lockstep_migrations (set_name, version, file, checksum) VALUES ($1, $2, $3, $4)';
    expect(await subject.execute(insertion, row)).toBe(1);
    await expect(subject.execute(insertion, row)).rejects.toThrow();
  });

  it('lets one session at a time hold the lock of migrations', async () => {
    const { lock, unlock } = subject.driver.migrations;
    const [first, second] = [await subject.begin(), await subject.begin()];
    const order: string[] = [];
    await first.query(lock, []);
    const waiting = second.query(lock, []).then(() => order.push('second has it'));
    await subject.query('SELECT 1');
    order.push('first lets go');
    if (unlock) await first.query(unlock, []);
    await first.commit();
    await vi.waitFor(() => expect(order).toEqual(['first lets go', 'second has it']), TIMEOUT_MS);
    await waiting;
    if (unlock) await second.query(unlock, []);
    await second.commit();
  });
}

/** The driver under test with a table of its own. */
class Subject {
  readonly table = `contract_${randomBytes(6).toString('hex')}`;
  readonly insertion = `INSERT INTO ${this.table} (name, number) VALUES ($1, 1)`;
  private opened: SqlDriver | undefined;

  get driver(): SqlDriver {
    if (!this.opened) throw new Error('The driver is open from beforeAll on');
    return this.opened;
  }

  async open(harness: SqlDriverHarness): Promise<void> {
    this.opened = await harness.open();
    await this.execute(`CREATE TABLE ${this.table} (name varchar(50) PRIMARY KEY, number integer NOT NULL)`);
  }

  async close(): Promise<void> {
    await this.opened?.close();
  }

  name(): string {
    return randomBytes(6).toString('hex');
  }

  begin(options: Partial<BeginOptions> = {}): Promise<SqlSession> {
    return this.driver.begin({ ...BEGIN, ...options });
  }

  query(text: string, params: readonly unknown[] = []): Promise<unknown[]> {
    return this.driver.query(text, params, TIMEOUT_MS);
  }

  execute(text: string, params: readonly unknown[] = []): Promise<number> {
    return this.driver.execute(text, params, TIMEOUT_MS);
  }

  insert(name: string): Promise<number> {
    return this.execute(this.insertion, [name]);
  }

  async exists(name: string): Promise<boolean> {
    return (await this.query(`SELECT name FROM ${this.table} WHERE name = $1`, [name])).length > 0;
  }
}
