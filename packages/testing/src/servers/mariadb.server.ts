import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runMariaDbStatement } from '../protocol/mariadb-wire.js';
import { type LocatedMariaDb, locateMariaDb } from '../provision/index.js';
import { unprivilegedUserId } from '../provision/unprivileged-user.js';
import { containerLaunch } from './container-launch.js';
import { LocalServer, type LocalServerOptions } from './local-server.js';
import { startOrCleanUp } from './redis.server.js';

const run = promisify(execFile);

// Small and short-lived: what a server of the size of a machine would keep ready is left out.
const SMALL = ['--innodb-buffer-pool-size=32M', '--innodb-log-file-size=16M', '--performance-schema=OFF'];
// Written at each commit, so that a killed server has it; the disk is not waited for. `loose`: of some versions only.
const NO_SYNC = ['--innodb-flush-log-at-trx-commit=2', '--loose-innodb-flush-method=nosync'];
const DURABLE = ['--innodb-flush-log-at-trx-commit=1'];

export interface MariaDbServerOptions extends LocalServerOptions {
  /**
   * Whether a commit waits for the disk. Off is fast and survives a killed server, not a power cut.
   * @default false
   */
  readonly fsync?: boolean;
  /** Settings as in my.cnf, e.g. `{ 'max-connections': '20' }`. */
  readonly settings?: Readonly<Record<string, string>>;
}

/**
 * Starts MariaDB on a private port, user `root`, no password, no binary log, and resolves when it takes a connection.
 * Run by root, the server goes on as an unprivileged user, because MariaDB refuses root.
 * @throws ServerNotAvailableError when no server can be had, saying what was tried
 * @throws ServerStartError when it refuses to start
 */
export async function startMariaDb(options: MariaDbServerOptions = {}): Promise<MariaDbServer> {
  return MariaDbServer.start(await locateMariaDb(), options);
}

/** A running MariaDB. Data survives `restart()` and `kill()` followed by `restart()`. */
export class MariaDbServer extends LocalServer {
  protected readonly stopSignal = 'SIGTERM';

  private constructor(
    /** Where the server came from. */
    readonly located: LocatedMariaDb,
    private readonly mariaDbOptions: MariaDbServerOptions,
  ) {
    super('mariadb', mariaDbOptions);
  }

  static async start(located: LocatedMariaDb, options: MariaDbServerOptions): Promise<MariaDbServer> {
    const server = new MariaDbServer(located, options);
    await startOrCleanUp(server, () => server.start());
    return server;
  }

  /** `mysql://…`, the scheme that clients know; no database is selected. */
  get url(): string {
    return this.urlOf('');
  }

  /** Makes an empty database and returns its URL. The name is a random one unless given. */
  async createDatabase(name = `test_${randomBytes(6).toString('hex')}`): Promise<string> {
    await runMariaDbStatement(this.url, `CREATE DATABASE \`${name.replaceAll('`', '``')}\` CHARACTER SET utf8mb4`);
    return this.urlOf(name);
  }

  protected async prepareData(): Promise<void> {
    const user = this.userId;
    if (user !== undefined) chownSync(this.folder, user, user);
    if (existsSync(join(this.dataFolder, 'mysql'))) return;
    mkdirSync(this.dataFolder, { recursive: true });
    if (this.located.image !== undefined) return; // the image makes the system tables by itself
    const { installDb, baseFolder, env } = this.located;
    const root = ['--auth-root-authentication-method=normal', '--skip-test-db'];
    const own = ['--no-defaults', `--basedir=${baseFolder}`, `--datadir=${this.dataFolder}`, ...this.identity];
    await run(installDb, [...own, ...root, ...SMALL, ...NO_SYNC], { cwd: '/', env: { ...process.env, ...env } });
    if (user !== undefined) chownSync(this.dataFolder, user, user);
  }

  protected launch(port: number): ReturnType<LocalServer['launch']> {
    const durability = this.mariaDbOptions.fsync === true ? DURABLE : NO_SYNC;
    const further = Object.entries(this.mariaDbOptions.settings ?? {}).map(([name, value]) => `--${name}=${value}`);
    const common = [...SMALL, '--skip-log-bin', ...durability, ...further];
    const { image, binary, baseFolder, env } = this.located;
    if (image !== undefined) {
      const variables = ['MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1'];
      const shape = { port, inside: 3306, folder: this.dataFolder, mount: '/var/lib/mysql', env: variables };
      return containerLaunch(image, shape, common);
    }
    const place = ['--no-defaults', `--basedir=${baseFolder}`, `--datadir=${this.dataFolder}`, ...this.identity];
    // No socket file: its path may be no longer than 107 characters, and nobody needs it.
    const listen = [`--bind-address=${this.host}`, `--port=${port}`, '--socket='];
    const args = [...place, ...listen, `--pid-file=${this.pidFile}`, ...common];
    // It begins as whoever started it and drops to the named user itself: so its files may lie where only root can go.
    return { command: binary, args, env, userId: undefined, container: undefined };
  }

  protected async probe(): Promise<void> {
    if (this.located.image === undefined) this.assertOurs();
    await runMariaDbStatement(this.url, undefined, 1000);
  }

  /** The server writes its pid when it has its port. */
  private assertOurs(): void {
    if (readFileSync(this.pidFile, 'utf8').trim() !== String(this.pid)) throw new Error('The server is still starting');
  }

  private get pidFile(): string {
    return join(this.dataFolder, 'server.pid');
  }

  private get userId(): number | undefined {
    return this.located.image === undefined ? unprivilegedUserId() : undefined;
  }

  private get identity(): string[] {
    return this.userId === undefined ? [] : [`--user=${this.userId}`];
  }

  private urlOf(database: string): string {
    return `mysql://root@${this.host}:${this.port}/${encodeURIComponent(database)}`;
  }
}
