import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { redisCommand } from '../protocol/redis-socket.js';
import type { LocatedServer } from '../provision/index.js';
import { LocalServer } from './local-server.js';
import { startOrCleanUp } from './redis.server.js';

/** What a sentinel watches and when it acts. */
export interface SentinelWatch {
  readonly name: string;
  readonly master: { readonly host: string; readonly port: number };
  /** Sentinels that must agree that the master is down. */
  readonly quorum: number;
  readonly downAfterMs: number;
  readonly failoverTimeoutMs: number;
}

/** One sentinel process. It keeps what it learnt in its configuration file, so a restart goes on from there. */
export class SentinelServer extends LocalServer {
  protected readonly stopSignal = 'SIGTERM';

  private constructor(
    private readonly located: LocatedServer,
    private readonly watch: SentinelWatch,
  ) {
    super('sentinel', {});
  }

  static async start(located: LocatedServer, watch: SentinelWatch): Promise<SentinelServer> {
    const server = new SentinelServer(located, watch);
    await startOrCleanUp(server, () => server.start());
    return server;
  }

  get url(): string {
    return `redis://${this.host}:${this.port}`;
  }

  protected async prepareData(): Promise<void> {
    mkdirSync(this.dataFolder, { recursive: true });
    if (existsSync(this.file)) return;
    const { name, master, quorum, downAfterMs, failoverTimeoutMs } = this.watch;
    const lines = [
      `sentinel monitor ${name} ${master.host} ${master.port} ${quorum}`,
      `sentinel down-after-milliseconds ${name} ${downAfterMs}`,
      `sentinel failover-timeout ${name} ${failoverTimeoutMs}`,
    ];
    writeFileSync(this.file, `${lines.join('\n')}\n`);
  }

  protected launch(port: number): ReturnType<LocalServer['launch']> {
    const own = ['--port', String(port), '--bind', this.host, '--dir', this.dataFolder];
    const args = [this.file, '--sentinel', ...own];
    return { command: this.located.binary, args, env: this.located.env, userId: undefined, container: undefined };
  }

  protected async probe(): Promise<void> {
    const info = String(await redisCommand(this.url, 'INFO', 'server'));
    if (!info.includes(`process_id:${this.pid}\r\n`)) throw new Error(`Another server answers on port ${this.port}`);
  }

  private get file(): string {
    return join(this.dataFolder, 'sentinel.conf');
  }
}
