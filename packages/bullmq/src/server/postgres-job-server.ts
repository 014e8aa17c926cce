import { type Incidents, PeriodicTask, untilAborted } from '@lockstep/core';
import {
  assertSchemaCompatibility,
  type BackendFactory,
  type PgPool,
  type PgPoolClient,
  PostgresQueueBackend,
  runMigrations,
} from 'bullmq';
import type { JobServer } from './job-server.js';
import { Latch } from './latch.js';
import { isOutage } from './postgres-outage.js';
import { type PostgresConnections, postgresConnections, type ResolvedPostgres } from './postgres-pool.js';
import { SharedPostgresConnection } from './shared-postgres-connection.js';

const SOURCE = 'bullmq.postgres';
const PROBE_EVERY_MS = 500;
const CLOSE_WITHIN_MS = 2_000;

/**
 * Jobs on Postgres, in a schema of their own. BullMQ remembers for ever that its first connection failed, and never
 * looks at its schema again; so readiness is decided here:
 *
 * ```
 * down --probe: connect, migrate--> up --a statement meets an outage or a missing table--> down
 * any --close--> closed
 * ```
 */
export class PostgresJobServer implements JobServer {
  readonly store = 'postgres';
  readonly answersInOrder = false;
  readonly prefix = undefined;
  private readonly ready = new Latch();
  private readonly probe: PeriodicTask;
  private isClosed = false;

  private constructor(
    private readonly connections: PostgresConnections,
    private readonly options: ResolvedPostgres,
    private readonly namespace: string,
    private readonly incidents: Incidents,
  ) {
    this.probe = new PeriodicTask({
      name: SOURCE,
      everyMs: PROBE_EVERY_MS,
      run: async () => this.becomeReady(),
      onError: (cause) => this.report('POSTGRES_NOT_READY', 'the server or its schema cannot be used', cause),
    });
    this.probe.start();
  }

  static async open(
    options: ResolvedPostgres,
    namespace: string,
    timeoutMs: number,
    incidents: Incidents,
  ): Promise<PostgresJobServer> {
    const onError = (cause: unknown): void =>
      incidents.report({ code: 'POSTGRES_CONNECTION_FAILED', source: SOURCE, message: 'a connection failed', cause });
    return new PostgresJobServer(await postgresConnections(options, timeoutMs, onError), options, namespace, incidents);
  }

  readonly backendFactory: BackendFactory = (name, opts, { withBlockingConnection = false } = {}) => {
    const pool = this.guardedPool();
    const connection = new SharedPostgresConnection(pool, this.options.schema, this.ready);
    const listenName = withBlockingConnection ? name.slice(0, 63) : undefined;
    return new PostgresQueueBackend(connection, name, { ...opts, connection: pool }, true, listenName);
  };

  queueName(kind: string, entity: string): string {
    return `${this.namespace}/${kind}/${entity}`;
  }

  get isReady(): boolean {
    return this.ready.isOpen;
  }

  whenReady(): Promise<void> {
    return this.ready.whenOpen();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.ready.destroy(new Error('The connection to Postgres was closed'));
    // A server that stopped answering must not keep the process from ending; the sockets end with it.
    await untilAborted(this.end(), AbortSignal.timeout(CLOSE_WITHIN_MS), () => undefined);
  }

  private async end(): Promise<void> {
    await this.probe.stop();
    await this.connections.end();
  }

  private async becomeReady(): Promise<undefined> {
    if (this.ready.isOpen) return;
    const client = await this.connections.dedicated();
    try {
      await this.prepareSchema(client);
    } finally {
      client.release(true);
    }
    this.ready.setOpen();
  }

  private async prepareSchema(client: PgPoolClient): Promise<void> {
    const { schema, migrate } = this.options;
    if (migrate) await runMigrations(client, schema);
    else await assertSchemaCompatibility(client, schema);
    const { rows } = await client.query<{ schema: string | null }>('SELECT current_schema() AS schema');
    if (rows[0]?.schema !== schema) {
      throw new Error(`the pool's connections look into the schema ${rows[0]?.schema}, not ${schema}: set search_path`);
    }
  }

  /** BullMQ's view of the pool: it may use and listen, but a failure is seen here and the pool's end is not its to set. */
  private guardedPool(): PgPool {
    const { connections } = this;
    const pool: PgPool = {
      query: async <Row>(text: string, params?: readonly unknown[]) => {
        try {
          return await connections.pool.query<Row>(text, params);
        } catch (error) {
          this.noteFailure(error);
          throw error;
        }
      },
      connect: () => connections.dedicated(),
      end: async () => undefined,
      on: () => pool,
      removeAllListeners: () => pool,
    };
    return pool;
  }

  private noteFailure(error: unknown): void {
    if (!isOutage(error) || this.isClosed) return;
    this.ready.setShut();
    this.probe.wake();
  }

  private report(code: string, message: string, cause: unknown): void {
    if (this.isClosed) return;
    this.incidents.report({ code, source: SOURCE, message, cause });
  }
}
