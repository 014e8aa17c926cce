import type { Sql } from '@lockstep/sql';
import { POSITION_STATEMENTS, type PositionKey, type PositionStatements } from './position-statements.js';

/** Few enough for the command timeout, wherever the rows lie. */
const LOOK_AT = 2_000;
/** Of so many positions one that is forgotten makes the walk go on at once: what is idle stays a tenth of the table. */
const WORTHWHILE = LOOK_AT / 10;

/**
 * Forgets positions that were not touched for longer. Walks the table by its primary key, some rows a step, and begins
 * again behind the last one: an index on the time would be written with every message, and without one a search of the
 * whole table fails as soon as it is large.
 */
export class PositionPurge {
  private readonly statements: PositionStatements;
  private last: PositionKey | undefined;

  constructor(private readonly sql: Sql) {
    this.statements = POSITION_STATEMENTS[sql.dialect];
  }

  /** Returns how many it forgot, and whether it is worthwhile to go on at once. */
  async step(olderThanMs: number): Promise<{ readonly forgotten: number; readonly isWorthwhile: boolean }> {
    const { consumer = '', topic = '', key = '' } = this.last ?? {};
    const { look, forget } = this.statements;
    const rows = await this.sql.query<PositionKey & { isOld: unknown }>(look, [
      olderThanMs,
      consumer,
      topic,
      key,
      LOOK_AT,
    ]);
    // A boolean is a number on MariaDB.
    const old = rows.filter(({ isOld }) => Number(isOld) === 1);
    const forgotten = old.length === 0 ? 0 : await this.sql.execute(forget, [JSON.stringify(old), olderThanMs]);
    this.last = rows.length < LOOK_AT ? undefined : rows.at(-1);
    return { forgotten, isWorthwhile: forgotten >= WORTHWHILE };
  }
}
