import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runStatement } from '../protocol/postgres-wire.js';
import { type LocatedPostgres, locatePostgres } from '../provision/index.js';
import { unprivilegedUserId } from '../provision/unprivileged-user.js';
import { containerLaunch } from './container-launch.js';
import { LocalServer, type LocalServerOptions } from './local-server.js';
import { startOrCleanUp } from './redis.server.js';

const run = promisify(execFile);

export interface PostgresServerOptions extends LocalServerOptions {
  /**
   * Whether a commit waits for the disk. Off is fast and survives a killed server, not a power cut.
   * @default false
   */
  readonly fsync?: boolean;
  /** Settings as in postgresql.conf, e.g. `{ max_connections: '20' }`. */
  readonly settings?: Readonly<Record<string, string>>;
}

/**
 * Starts Postgres on a private port, user `postgres`, no password, and resolves when it takes a connection.
 * Run by root, the server runs as an unprivileged user, because Postgres refuses root.
 * @throws ServerNotAvailableError when no server can be had, saying what was tried
 * @throws ServerStartError when it refuses to start
 */
export async function startPostgres(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  return PostgresServer.start(await locatePostgres(), options);
}

/** A running Postgres. Data survives `restart()` and `kill()` followed by `restart()`. */
export class PostgresServer extends LocalServer {
  protected readonly stopSignal = 'SIGINT'; // fast shutdown: SIGTERM would wait for every client to leave

  private constructor(
    /** Where the server came from. */
    readonly located: LocatedPostgres,
    private readonly postgresOptions: PostgresServerOptions,
  ) {
    super('postgres', postgresOptions);
  }

  static async start(located: LocatedPostgres, options: PostgresServerOptions): Promise<PostgresServer> {
    const server = new PostgresServer(located, options);
    await startOrCleanUp(server, () => server.start());
    return server;
  }

  get url(): string {
    return this.urlOf('postgres');
  }

  /** Makes an empty database and returns its URL. The name is a random one unless given. */
  async createDatabase(name = `test_${randomBytes(6).toString('hex')}`): Promise<string> {
    await runStatement(this.url, `CREATE DATABASE "${name.replaceAll('"', '""')}"`);
    return this.urlOf(name);
  }

  protected async prepareData(): Promise<void> {
    const user = this.userId;
    if (user !== undefined) chownSync(this.folder, user, user);
    if (existsSync(join(this.dataFolder, 'PG_VERSION'))) return;
    if (this.located.image !== undefined) {
      mkdirSync(this.dataFolder, { recursive: true });
      return; // the image runs initdb by itself
    }
    const args = ['-D', this.dataFolder, '-U', 'postgres', '-A', 'trust', '--no-sync', '-E', 'UTF8', '--locale=C'];
    const identity = user === undefined ? {} : { uid: user, gid: user };
    await run(this.located.initdb, args, { cwd: '/', env: { ...process.env, ...this.located.env }, ...identity });
  }

  protected launch(port: number): ReturnType<LocalServer['launch']> {
    const settings = Object.entries(this.settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    if (this.located.image !== undefined) {
      const env = ['POSTGRES_HOST_AUTH_METHOD=trust', 'POSTGRES_USER=postgres'];
      const shape = { port, inside: 5432, folder: this.dataFolder, mount: '/var/lib/postgresql/data', env };
      return containerLaunch(this.located.image, shape, settings);
    }
    const own = ['-D', this.dataFolder, '-p', String(port), '-c', `listen_addresses=${this.host}`];
    const args = [...own, '-c', 'unix_socket_directories=', ...settings];
    return { command: this.located.binary, args, env: this.located.env, userId: this.userId, container: undefined };
  }

  protected async probe(): Promise<void> {
    if (this.located.image === undefined) this.assertOurs();
    await runStatement(this.url, undefined, 1000);
  }

  /** The first line of the server's lock file is its pid, the eighth says "ready" once it has its port. */
  private assertOurs(): void {
    const lines = readFileSync(join(this.dataFolder, 'postmaster.pid'), 'utf8').split('\n');
    if (lines[0] !== String(this.pid) || lines[7]?.trim() !== 'ready') throw new Error('The server is still starting');
  }

  private get settings(): Record<string, string> {
    const durability = this.postgresOptions.fsync === true ? {} : { fsync: 'off', full_page_writes: 'off' };
    return { max_prepared_transactions: '20', ...durability, ...this.postgresOptions.settings };
  }

  private get userId(): number | undefined {
    return this.located.image === undefined ? unprivilegedUserId() : undefined;
  }

  private urlOf(database: string): string {
    return `postgres://postgres@${this.host}:${this.port}/${encodeURIComponent(database)}`;
  }
}
