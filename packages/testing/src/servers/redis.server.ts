import { mkdirSync } from 'node:fs';
import { RedisSocket } from '../protocol/redis-socket.js';
import { type LocatedServer, locateRedis } from '../provision/index.js';
import { containerLaunch } from './container-launch.js';
import { freePort } from './free-port.js';
import { LocalServer, type LocalServerOptions } from './local-server.js';

const BUS_PORT_DISTANCE = 10_000;

export interface RedisServerOptions extends LocalServerOptions {
  /**
   * `no` keeps data in memory only; `everysec` and `always` write the append-only file as Redis defines them.
   * @default 'no'
   */
  readonly appendonly?: 'no' | 'everysec' | 'always';
  /** Further arguments of the server, e.g. `['--maxmemory', '10mb']`. */
  readonly args?: readonly string[];
}

/**
 * Starts Redis (or Valkey) on a private port and resolves when it answers PING.
 * @throws ServerNotAvailableError when no server can be had, saying what was tried
 * @throws ServerStartError when it refuses to start
 */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  return RedisServer.start(await locateRedis(), options);
}

/** A running Redis. `restart()` keeps the data (it saves first); `kill()` then `restart()` keeps what was on disk. */
export class RedisServer extends LocalServer {
  protected readonly stopSignal = 'SIGTERM';

  private constructor(
    /** Where the server came from. */
    readonly located: LocatedServer,
    private readonly redisOptions: RedisServerOptions,
  ) {
    super('redis', redisOptions);
  }

  static async start(located: LocatedServer, options: RedisServerOptions): Promise<RedisServer> {
    const server = new RedisServer(located, options);
    await startOrCleanUp(server, () => server.start());
    return server;
  }

  get url(): string {
    return `redis://${this.host}:${this.port}`;
  }

  /** A node of a cluster listens on a second port, which not every version lets one choose. */
  protected override choosePort(): Promise<number> {
    return freePort({ companionAt: this.redisOptions.args?.includes('--cluster-enabled') ? BUS_PORT_DISTANCE : 0 });
  }

  protected async prepareData(): Promise<void> {
    mkdirSync(this.dataFolder, { recursive: true });
  }

  protected launch(port: number): ReturnType<LocalServer['launch']> {
    const { appendonly = 'no', args = [] } = this.redisOptions;
    const persistence = ['--save', '', '--appendonly', appendonly === 'no' ? 'no' : 'yes'];
    if (appendonly !== 'no') persistence.push('--appendfsync', appendonly);
    const common = [...persistence, '--daemonize', 'no', ...args];
    if (this.located.image !== undefined) {
      const command = ['redis-server', '--port', '6379', '--protected-mode', 'no', '--dir', '/data', ...common];
      return containerLaunch(
        this.located.image,
        { port, inside: 6379, folder: this.dataFolder, mount: '/data' },
        command,
      );
    }
    const own = ['--port', String(port), '--bind', this.host, '--dir', this.dataFolder];
    const { binary, env } = this.located;
    return { command: binary, args: [...own, ...common], env, userId: undefined, container: undefined };
  }

  protected async probe(): Promise<void> {
    const redis = await RedisSocket.connect(this.url);
    try {
      const server = String(await redis.command('INFO', 'server'));
      const isOurs = this.located.image !== undefined || server.includes(`process_id:${this.pid}\r\n`);
      if (!isOurs) throw new Error(`Another server answers on port ${this.port}`);
      await redis.command('PING'); // INFO is answered while the data is still being loaded
    } finally {
      redis.close();
    }
  }

  protected override async beforeRestart(): Promise<void> {
    if (!this.isRunning) return;
    this.resume();
    const redis = await RedisSocket.connect(this.url);
    try {
      await redis.command('SAVE');
    } finally {
      redis.close();
    }
  }
}

/** A constructor has made the data folder already; a failed start must not leave it behind. */
export async function startOrCleanUp(server: LocalServer, start: () => Promise<void>): Promise<void> {
  try {
    await start();
  } catch (error) {
    await server.stop();
    throw error;
  }
}
