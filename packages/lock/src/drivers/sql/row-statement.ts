import type { SqlDialect } from '@lockstep/sql';
import { FenceMisuseError } from '../../fence/fence.errors.js';
import { assertFence } from '../../fence/fence.js';
import type { FencedRow } from './fenced-row.js';
import { quotedName, quotedTable } from './identifier.js';

/**
 * The parts of one statement about one row; each part adds its parameters, so they have to be asked for in the order in
 * which they stand in the text.
 *
 * @throws FenceMisuseError from every member, when what was given is no fence, name, key or value
 */
export class RowStatement {
  readonly table: string;
  readonly params: unknown[] = [];
  private readonly fenceName: string;
  private readonly fenceColumn: string;

  constructor(
    private readonly dialect: SqlDialect,
    private readonly row: FencedRow,
  ) {
    assertFence(row.fence);
    this.table = quotedTable(dialect, row.table);
    this.fenceName = row.fenceColumn ?? 'fence';
    this.fenceColumn = quotedName(dialect, this.fenceName);
  }

  /** `"balance" = $1` */
  assignment(column: string, value: unknown): string {
    const shown = JSON.stringify(column);
    if (column === this.fenceName) throw new FenceMisuseError(`${shown} holds the fence; it can be no other value.`);
    if (value === undefined) throw new FenceMisuseError(`The value of ${shown} is undefined.`);
    return `${quotedName(this.dialect, column)} = ${this.parameter(value)}`;
  }

  setFence(): string {
    return `${this.fenceColumn} = ${this.fence()}`;
  }

  isKey(): string {
    const entries = Object.entries(this.row.key);
    if (entries.length === 0) throw new FenceMisuseError('The key of a fenced row has at least one column.');
    const nothing = entries.find(([, value]) => value === null);
    if (nothing)
      throw new FenceMisuseError(`The key column ${JSON.stringify(nothing[0])} is null, which equals nothing.`);
    return entries.map(([column, value]) => this.assignment(column, value)).join(' AND ');
  }

  isKeyAndNotStale(): string {
    return `${this.isKey()} AND (${this.fenceColumn} IS NULL OR ${this.fenceColumn} <= ${this.fence()})`;
  }

  /** The fence as text, for a client may make a number of it that has lost its last digits. */
  fenceText(): string {
    return `CAST(${this.fenceColumn} AS ${this.dialect === 'mariadb' ? 'CHAR' : 'text'})`;
  }

  /** Shows the row as it is now: a snapshot of MariaDB would show it as it was when the transaction began. */
  currentRead(): string {
    return this.dialect === 'mariadb' ? ' FOR UPDATE' : '';
  }

  private fence(): string {
    const parameter = this.parameter(this.row.fence.toString());
    // MariaDB would compare a number and a text as floating point.
    return this.dialect === 'mariadb' ? `CAST(${parameter} AS SIGNED)` : parameter;
  }

  private parameter(value: unknown): string {
    return `$${this.params.push(value)}`;
  }
}
