import { ConfigurationError, type Incidents } from '@lockstep/core';
import type {
  BeginOptions,
  MigrationStatements,
  NotificationListener,
  SqlDriver,
  SqlSession,
} from '../../sql-driver.js';
import type { PgPool, PgPoolClient, PgResult } from './pg-client.js';
import { asStoreError, PgConnection, within } from './pg-connection.js';
import { PgTimeoutError } from './pg-errors.js';
import { PostgresNotifications } from './postgres-notifications.js';
import { PostgresSession } from './postgres-session.js';

const OLDEST_SERVER = 140_000;
/**
 * A connection that was used so lately is likely to be there. One that has died in silence shall be found out by a BEGIN
 * of its own: what comes with a statement has the time of a statement, which may have to wait for a lock.
 */
const LONGEST_TRUST_MS = 1_000;

// 0x4c4f434b is 'LOCK'; the second number tells the uses of that namespace apart.
const MIGRATIONS: MigrationStatements = {
  findTable: `SELECT 1 FROM pg_catalog.pg_class WHERE oid = to_regclass('lockstep_migrations')`,
  createTable: `CREATE TABLE IF NOT EXISTS lockstep_migrations (
    set_name text NOT NULL,
    version integer NOT NULL,
    file text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (set_name, version)
  )`,
  lock: 'SELECT pg_advisory_xact_lock(1280262987, 1)',
};

/** {@link SqlDriver} on Postgres 14 or later, over a pool of `pg`. */
export class PostgresSqlDriver implements SqlDriver {
  readonly dialect = 'postgres';
  readonly migrations = MIGRATIONS;
  private supported = false;
  private readonly onPoolError = (cause: Error): void =>
    this.incidents.report({
      code: 'SQL_CONNECTION_LOST',
      source: 'sql.postgres',
      message: 'An idle connection was lost; the pool opens another one when it is needed',
      cause,
    });

  private readonly heard = new WeakSet<PgPoolClient>();
  /**
   * Between the pool's listener and that of whoever asked, a client has none for some microtasks, and an 'error' event
   * without a listener ends the process. What it says is found out by the next statement.
   */
  private readonly onAcquire = (client: PgPoolClient): void => {
    if (this.heard.has(client)) return;
    this.heard.add(client);
    client.on('error', () => undefined);
  };
  private readonly notifications: PostgresNotifications;

  /**
   * @param owned whether the pools were made for this driver, which then closes them
   * @param listenPool where the connection comes from that listens for notifications
   */
  constructor(
    private readonly pool: PgPool,
    private readonly owned: boolean,
    private readonly incidents: Incidents,
    private readonly listenPool: PgPool = pool,
  ) {
    for (const each of this.pools) {
      each.on('error', this.onPoolError);
      each.on('acquire', this.onAcquire);
    }
    this.notifications = new PostgresNotifications(
      (timeoutMs) => this.acquire('sql.listen', timeoutMs, listenPool),
      incidents,
    );
  }

  async begin(options: BeginOptions): Promise<SqlSession> {
    const connection = await this.acquire('sql.begin', options.commandTimeoutMs);
    const withFirstStatement = options.withFirstStatement === true && connection.idleMs < LONGEST_TRUST_MS;
    return PostgresSession.begin(connection, { ...options, withFirstStatement }, this.incidents);
  }

  async query<Row>(text: string, params: readonly unknown[], timeoutMs: number): Promise<Row[]> {
    return (await this.run('sql.query', text, params, timeoutMs)).rows as Row[];
  }

  async execute(text: string, params: readonly unknown[], timeoutMs: number): Promise<number> {
    return (await this.run('sql.execute', text, params, timeoutMs)).rowCount ?? 0;
  }

  listen(channel: string, listener: NotificationListener, timeoutMs: number): Promise<() => void> {
    return this.notifications.listen(channel, listener, timeoutMs);
  }

  async close(): Promise<void> {
    await this.notifications.close();
    // An own pool keeps the listener: it has ended before its last connections have.
    if (this.owned) await Promise.all([...this.pools].map((each) => each.end()));
    else {
      for (const each of this.pools) {
        each.removeListener('error', this.onPoolError);
        each.removeListener('acquire', this.onAcquire);
      }
    }
  }

  private get pools(): Set<PgPool> {
    return new Set([this.pool, this.listenPool]);
  }

  private async run(operation: string, text: string, params: readonly unknown[], timeoutMs: number): Promise<PgResult> {
    const connection = await this.acquire(operation, timeoutMs);
    try {
      return await connection.run(text, params, timeoutMs);
    } catch (error) {
      throw asStoreError(error, operation, 'unknown');
    } finally {
      connection.giveBack();
    }
  }

  private async acquire(operation: string, timeoutMs: number, pool = this.pool): Promise<PgConnection> {
    const pending = pool.connect();
    let client: PgPoolClient;
    try {
      client = await within(timeoutMs, pending);
    } catch (error) {
      if (error instanceof PgTimeoutError) this.giveBackLate(pending);
      throw asStoreError(error, operation, 'not-applied');
    }
    const connection = new PgConnection(client);
    if (!this.supported) await this.assertSupported(connection, operation, timeoutMs);
    return connection;
  }

  private giveBackLate(pending: Promise<PgPoolClient>): void {
    pending.then(
      (client) => client.release(),
      (cause: unknown) =>
        this.incidents.report({
          code: 'SQL_CONNECT_FAILED',
          source: 'sql.postgres',
          message: 'A connection that was no longer waited for could not be had',
          cause,
        }),
    );
  }

  private async assertSupported(connection: PgConnection, operation: string, timeoutMs: number): Promise<void> {
    try {
      const { rows } = await connection.run(`SELECT current_setting('server_version_num') AS version`, [], timeoutMs);
      const version = Number(rows[0]?.version);
      if (version < OLDEST_SERVER) {
        const name = `${Math.floor(version / 10_000)}.${version % 10_000}`;
        throw new ConfigurationError(`The Postgres server has version ${name}; Lockstep needs 14 or later.`);
      }
      this.supported = true;
    } catch (error) {
      connection.giveBack();
      throw asStoreError(error, operation, 'not-applied');
    }
  }
}
