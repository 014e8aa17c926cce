import { MigrationError } from '../sql.errors.js';
import type { MigrationMode } from '../sql.options.js';
import type { MigrationStatements } from '../sql-driver.js';
import type { SqlTransaction } from '../sql-transaction.js';
import { type Migration, type MigrationSet, readMigrations } from './migration-set.js';

/** How the migrator reaches the database. */
export interface MigrationConnection {
  query<Row>(text: string, params?: readonly unknown[]): Promise<Row[]>;
  /** A connection of its own, whatever is open around, and one transaction where the server can undo DDL. */
  session<T>(fn: (session: MigrationSession) => Promise<T>): Promise<T>;
  /** Hears of a migration that was applied and that the installed package does not have. */
  onNewer(set: string, file: string): void;
}

export type MigrationSession = Pick<SqlTransaction, 'query' | 'execute'>;

type Query = MigrationSession['query'];

interface AppliedRow {
  readonly version: string;
  readonly file: string;
  readonly checksum: string;
}

const SELECT_APPLIED = `SELECT CAST(version AS CHAR(10)) AS version, file, checksum FROM lockstep_migrations
  WHERE set_name = $1 ORDER BY lockstep_migrations.version`;

/**
 * Brings the tables of a package up to its files, exactly once however many processes start together: whoever finds
 * something missing takes the database-wide lock, looks again, and applies what is still missing in the same session.
 * A process that finds nothing missing takes no lock and writes nothing.
 *
 * On Postgres all of it is one transaction. MariaDB commits each statement by itself: whoever dies between two of them
 * leaves the first ones behind, and the file is run again from its start, which its statements must bear.
 */
export class Migrator {
  private readonly done = new Map<string, Promise<void>>();

  constructor(
    private readonly mode: MigrationMode,
    private readonly statements: MigrationStatements,
    private readonly connection: MigrationConnection,
  ) {}

  /** At most once per set at a time; a failure is not remembered, so that the next caller tries again. */
  ensure(set: MigrationSet): Promise<void> {
    const key = `${set.name} ${set.directory.href}`;
    const known = this.done.get(key);
    if (known) return known;
    const attempt = this.migrate(set);
    this.done.set(key, attempt);
    attempt.catch(() => this.done.delete(key));
    return attempt;
  }

  private async migrate(set: MigrationSet): Promise<void> {
    if (this.mode === 'off') return;
    const migrations = await readMigrations(set);
    const pending = await this.pending(set, migrations, (text, params) => this.connection.query(text, params));
    const first = pending[0];
    if (!first) return;
    if (this.mode === 'verify') {
      throw new MigrationError(
        set.name,
        `${first.file} has not been applied to this database. Apply it, or set the option migrations to 'auto'.`,
        first.file,
      );
    }
    await this.connection.session((session) => this.applyLocked(session, set, migrations));
  }

  private async applyLocked(
    session: MigrationSession,
    set: MigrationSet,
    migrations: readonly Migration[],
  ): Promise<void> {
    const { lock, unlock, createTable } = this.statements;
    await session.query(lock);
    await session.execute(createTable);
    const pending = await this.pending(set, migrations, session.query.bind(session));
    for (const migration of pending) await this.apply(session, set, migration);
    if (unlock) await session.query(unlock);
  }

  /** What is still to be applied. @throws MigrationError when what was applied is not what the files say */
  private async pending(set: MigrationSet, migrations: readonly Migration[], query: Query): Promise<Migration[]> {
    const exists = await query(this.statements.findTable);
    const applied = exists.length === 0 ? [] : await query<AppliedRow>(SELECT_APPLIED, [set.name]);
    for (const row of applied) this.compare(set, migrations[Number(row.version) - 1], row);
    return migrations.slice(applied.length);
  }

  /**
   * A database that is newer than the files is what every rolling deployment has for a while: migrations are additions,
   * so the older process goes on, and an operator hears of it.
   */
  private compare(set: MigrationSet, migration: Migration | undefined, row: AppliedRow): void {
    if (!migration) {
      this.connection.onNewer(set.name, row.file);
      return;
    }
    if (migration.file !== row.file || migration.checksum !== row.checksum) {
      throw new MigrationError(set.name, `${row.file} was changed after it had been applied.`, row.file);
    }
  }

  private async apply(session: MigrationSession, set: MigrationSet, migration: Migration): Promise<void> {
    const statements = this.statements.split?.(migration.statements) ?? [migration.statements];
    for (const statement of statements) await session.execute(statement);
    await session.execute(
      'INSERT INTO lockstep_migrations (set_name, version, file, checksum) VALUES ($1, $2, $3, $4)',
      [set.name, migration.version, migration.file, migration.checksum],
    );
  }
}
