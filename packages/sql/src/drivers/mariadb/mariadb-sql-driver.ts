import type { Incidents } from '@lockstep/core';
import type { BeginOptions, MigrationStatements, SqlDriver, SqlSession } from '../../sql-driver.js';
import { ConnectionWatch } from './connection-watch.js';
import type { MariaDbPool, MariaDbPoolClient } from './mariadb-client.js';
import { asStoreError, MariaDbConnection, within } from './mariadb-connection.js';
import { MariaDbTimeoutError } from './mariadb-errors.js';
import { MariaDbSession } from './mariadb-session.js';
import type { MariaDbResult } from './mariadb-statement.js';
import { splitStatements } from './placeholders.js';
import { ScriptSession } from './script-session.js';
import { assertSuitable, SESSION_SETTINGS } from './server-settings.js';

// A lock of the session: a name of its own per database, and longer than any statement may take.
const LOCK_NAME = `CONCAT('lockstep:', MD5(DATABASE()))`;

const MIGRATIONS: MigrationStatements = {
  findTable: `SELECT 1 FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name = 'lockstep_migrations'`,
  createTable: `CREATE TABLE IF NOT EXISTS lockstep_migrations (
    set_name varchar(100) NOT NULL,
    version integer NOT NULL,
    file varchar(200) NOT NULL,
    checksum char(64) NOT NULL,
    applied_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    PRIMARY KEY (set_name, version)
  ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
  lock: `SELECT GET_LOCK(${LOCK_NAME}, 7200)`,
  unlock: `SELECT RELEASE_LOCK(${LOCK_NAME})`,
  split: splitStatements,
};

export interface MariaDbSqlDriverOptions {
  /** Whether the pool was made for this driver, which then sets its sessions up and closes it. */
  readonly owned: boolean;
  readonly incidents: Incidents;
}

/**
 * {@link SqlDriver} on MariaDB 10.6 or later, over a pool of `mysql2`. A transaction that names no isolation level is
 * begun at read committed: at the server's default of repeatable read, statements that find no row lock the gap where it
 * would be, and two that insert there deadlock.
 */
export class MariaDbSqlDriver implements SqlDriver {
  readonly dialect = 'mariadb';
  readonly migrations = MIGRATIONS;
  private readonly watch: ConnectionWatch;
  private readonly incidents: Incidents;
  private readonly owned: boolean;
  private suitable = false;

  constructor(
    private readonly pool: MariaDbPool,
    options: MariaDbSqlDriverOptions,
  ) {
    this.owned = options.owned;
    this.incidents = options.incidents;
    this.watch = new ConnectionWatch((cause) =>
      this.incidents.report({
        code: 'SQL_CONNECTION_LOST',
        source: 'sql.mariadb',
        message: 'An idle connection was lost; the pool opens another one when it is needed',
        cause,
      }),
    );
  }

  async begin(options: BeginOptions): Promise<SqlSession> {
    const connection = await this.acquire('sql.begin', options.commandTimeoutMs);
    // Sessions of our own have it already.
    const fallback = this.owned ? undefined : 'read committed';
    return MariaDbSession.begin(connection, options.isolation ?? fallback, options, this.incidents);
  }

  async beginUntransacted(options: BeginOptions): Promise<SqlSession> {
    return new ScriptSession(await this.acquire('sql.begin', options.commandTimeoutMs), options);
  }

  async query<Row>(text: string, params: readonly unknown[], timeoutMs: number): Promise<Row[]> {
    return (await this.run('sql.query', text, params, timeoutMs)).rows as Row[];
  }

  async execute(text: string, params: readonly unknown[], timeoutMs: number): Promise<number> {
    return (await this.run('sql.execute', text, params, timeoutMs)).affected;
  }

  async close(): Promise<void> {
    if (this.owned) await this.pool.end();
    else this.watch.stop();
  }

  private async run(
    operation: string,
    text: string,
    params: readonly unknown[],
    timeoutMs: number,
  ): Promise<MariaDbResult> {
    const connection = await this.acquire(operation, timeoutMs);
    try {
      return await connection.run(text, params, timeoutMs);
    } catch (error) {
      throw asStoreError(error, operation, 'unknown');
    } finally {
      connection.giveBack();
    }
  }

  private async acquire(operation: string, timeoutMs: number): Promise<MariaDbConnection> {
    const pending = this.pool.getConnection();
    let client: MariaDbPoolClient;
    try {
      client = await within(timeoutMs, pending);
    } catch (error) {
      if (error instanceof MariaDbTimeoutError) this.giveBackLate(pending);
      throw asStoreError(error, operation, 'not-applied');
    }
    const isNew = this.watch.meet(client);
    const connection = new MariaDbConnection(client, this.watch);
    try {
      if (!this.suitable) await assertSuitable(client, connection, { owned: this.owned, timeoutMs });
      this.suitable = true;
      if (isNew && this.owned) await this.setUp(connection, timeoutMs);
    } catch (error) {
      // Half set up, it must not be lent again.
      connection.condemn(error as Error);
      connection.giveBack();
      throw asStoreError(error, operation, 'not-applied');
    }
    return connection;
  }

  private async setUp(connection: MariaDbConnection, timeoutMs: number): Promise<void> {
    for (const setting of SESSION_SETTINGS) await connection.run(setting, [], timeoutMs);
  }

  private giveBackLate(pending: Promise<MariaDbPoolClient>): void {
    pending.then(
      (client) => client.release(),
      (cause: unknown) =>
        this.incidents.report({
          code: 'SQL_CONNECT_FAILED',
          source: 'sql.mariadb',
          message: 'A connection that was no longer waited for could not be had',
          cause,
        }),
    );
  }
}
