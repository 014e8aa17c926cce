import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { natsInfo } from '../protocol/nats-info.js';
import { type LocatedServer, locateNats } from '../provision/index.js';
import { containerLaunch } from './container-launch.js';
import { LocalServer, type LocalServerOptions } from './local-server.js';
import { startOrCleanUp } from './redis.server.js';

export interface NatsServerOptions extends LocalServerOptions {
  /** Further arguments of the server, e.g. `['--user', 'u', '--pass', 'p']`. */
  readonly args?: readonly string[];
}

/**
 * Starts a NATS server with JetStream on a private port and resolves when it greets.
 * @throws ServerNotAvailableError when no server can be had, saying what was tried
 * @throws ServerStartError when it refuses to start
 */
export async function startNats(options: NatsServerOptions = {}): Promise<NatsServer> {
  return NatsServer.start(await locateNats(), options);
}

/** A running NATS server with JetStream. Its file streams survive `kill()` and `restart()`. */
export class NatsServer extends LocalServer {
  protected readonly stopSignal = 'SIGINT';
  private readonly serverName = `lockstep-${randomBytes(8).toString('hex')}`;

  private constructor(
    /** Where the server came from. */
    readonly located: LocatedServer,
    private readonly natsOptions: NatsServerOptions,
  ) {
    super('nats', natsOptions);
  }

  static async start(located: LocatedServer, options: NatsServerOptions): Promise<NatsServer> {
    const server = new NatsServer(located, options);
    await startOrCleanUp(server, () => server.start());
    return server;
  }

  get url(): string {
    return `nats://${this.host}:${this.port}`;
  }

  protected async prepareData(): Promise<void> {
    mkdirSync(this.dataFolder, { recursive: true });
  }

  protected launch(port: number): ReturnType<LocalServer['launch']> {
    const { image, binary, env } = this.located;
    const common = ['--jetstream', '--name', this.serverName, ...(this.natsOptions.args ?? [])];
    if (image !== undefined) {
      const command = ['nats-server', '--addr', '0.0.0.0', '--port', '4222', '--store_dir', '/data', ...common];
      return containerLaunch(image, { port, inside: 4222, folder: this.dataFolder, mount: '/data' }, command);
    }
    const own = ['--addr', this.host, '--port', String(port), '--store_dir', this.dataFolder];
    return { command: binary, args: [...own, ...common], env, userId: undefined, container: undefined };
  }

  protected async probe(): Promise<void> {
    const info = await natsInfo(this);
    if (info.server_name !== this.serverName) throw new Error(`Another server answers on port ${this.port}`);
    if (info.jetstream !== true) throw new Error('The server runs without JetStream');
  }
}
