import { FenceMisuseError, StaleFenceError } from '../../fence/fence.errors.js';
import { quotedName } from './identifier.js';
import { RowStatement } from './row-statement.js';
import type { SqlStatements } from './sql-statements.js';

/** Values by column. */
export type SqlValues = Readonly<Record<string, unknown>>;

/**
 * One row of a table of the application, with a column for its fence: `fence bigint NOT NULL DEFAULT 0`. Names are as
 * the database has them: in Postgres in lower case, unless they were created in quotes.
 */
export interface FencedRow {
  /** `account`, or with its schema `bank.account`. */
  readonly table: string;
  /** The columns of a primary or unique key, and their values. */
  readonly key: SqlValues;
  /** That of the lease under which the row is read or written. */
  readonly fence: bigint;
  /** @default 'fence' */
  readonly fenceColumn?: string;
}

export interface FencedRead extends FencedRow {
  /** @default all */
  readonly columns?: readonly string[];
}

export interface FencedUpdate extends FencedRow {
  /** The new values. The fence is not among them; it is set besides. */
  readonly set: SqlValues;
}

/**
 * Reads a row and raises its fence, so that no earlier holder writes after this read. That is a write: it waits for the
 * lock of the row, and in a transaction keeps it. A fence that is NULL counts as none.
 *
 * @returns undefined when there is no such row; nothing is guarded then, for which there is `SqlFences`
 * @throws StaleFenceError when the row was touched under a greater fence
 * @throws FenceMisuseError before anything is sent, when fence, names or key are none; after it, when the key found
 * several rows
 * @throws what the database threw, as it is
 */
export async function fencedRead<Row extends object = Record<string, unknown>>(
  sql: SqlStatements,
  read: FencedRead,
): Promise<Row | undefined> {
  const columns = columnsOf(sql, read);
  const row = new RowStatement(sql.dialect, read);
  const touch = `UPDATE ${row.table} SET ${row.setFence()} WHERE ${row.isKeyAndNotStale()}`;
  if (sql.dialect === 'mariadb') {
    // It returns nothing of an UPDATE; what the row holds now under this same fence, no later holder has changed.
    await sql.execute(touch, row.params);
    return (await currentRow<Row>(sql, read, `${columns}, `))?.row;
  }
  const rows = await sql.query<Row>(`${touch} RETURNING ${columns}`, row.params);
  assertOneRow(rows.length, read);
  if (rows.length === 0) await currentRow(sql, read);
  return rows[0];
}

/**
 * Writes a row unless it was touched under a greater fence. Without a {@link fencedRead} before it, it is right only
 * for values that do not depend on what was there.
 *
 * @returns 1, or 0 when there is no such row
 * @throws as {@link fencedRead}
 */
export async function fencedUpdate(sql: SqlStatements, update: FencedUpdate): Promise<number> {
  const row = new RowStatement(sql.dialect, update);
  const values = Object.entries(update.set);
  if (values.length === 0) throw new FenceMisuseError('A fenced update sets at least one column.');
  const set = values.map(([column, value]) => row.assignment(column, value));
  const text = `UPDATE ${row.table} SET ${[...set, row.setFence()].join(', ')} WHERE ${row.isKeyAndNotStale()}`;
  const touched = await sql.execute(text, row.params);
  assertOneRow(touched, update);
  if (touched === 0) await currentRow(sql, update);
  return touched;
}

function columnsOf(sql: SqlStatements, { columns = [] }: FencedRead): string {
  return columns.map((column) => quotedName(sql.dialect, column)).join(', ') || '*';
}

/**
 * The row after an UPDATE that touched it, or that found none to touch; undefined when there is none, or only since.
 *
 * @throws StaleFenceError when it was touched under a greater fence
 */
async function currentRow<Row extends object>(
  sql: SqlStatements,
  wanted: FencedRow,
  columns = '',
): Promise<{ readonly row: Row } | undefined> {
  const statement = new RowStatement(sql.dialect, wanted);
  const [found] = await sql.query<Row & { readonly lockstep_seen: string | null }>(
    `SELECT ${columns}${statement.fenceText()} AS lockstep_seen FROM ${statement.table} ` +
      `WHERE ${statement.isKey()}${statement.currentRead()}`,
    statement.params,
  );
  if (!found) return undefined;
  const { lockstep_seen: text, ...row } = found;
  const seen = BigInt(text ?? -1);
  if (seen > wanted.fence) throw new StaleFenceError(wanted.fence, seen, wanted.table);
  return seen === wanted.fence ? { row: row as unknown as Row } : undefined;
}

function assertOneRow(count: number, { table }: FencedRow): void {
  if (count <= 1) return;
  throw new FenceMisuseError(
    `The key of a fenced row found ${count} rows of ${table}, and they were touched: let the transaction roll back.`,
  );
}
