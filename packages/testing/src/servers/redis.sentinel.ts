import { eventually } from '../eventually.js';
import { redisCommand } from '../protocol/redis-socket.js';
import { locateProgram, startAll } from './redis.cluster.js';
import { RedisServer } from './redis.server.js';
import { SentinelServer, type SentinelWatch } from './sentinel.server.js';

export interface RedisSentinelOptions {
  /**
   * Replicas of the master.
   * @default 1
   */
  readonly replicas?: number;
  /**
   * Sentinel processes; more than half of them must agree on a failover.
   * @default 1
   */
  readonly sentinels?: number;
  /**
   * After so many milliseconds of silence a sentinel takes the master for dead.
   * @default 500
   */
  readonly downAfterMs?: number;
  /**
   * Redis' `failover-timeout` in milliseconds: a failover that did not work out is tried again after twice this time.
   * @default 3000
   */
  readonly failoverTimeoutMs?: number;
  /** Further arguments of the master and its replicas. */
  readonly args?: readonly string[];
}

const NAME = 'lockstep';
const TIMEOUT_MS = 30_000;

/**
 * Starts a master, its replicas and sentinels that watch them, all on the loopback, and resolves when the replicas have
 * a copy and every sentinel knows all the others.
 * @throws ServerNotAvailableError when no server program can be had; containers do not do, they cannot reach each other
 */
export async function startRedisSentinel(options: RedisSentinelOptions = {}): Promise<RedisSentinel> {
  const { replicas = 1, sentinels = 1, args = [] } = options;
  const located = await locateProgram('a sentinel');
  const master = await RedisServer.start(located, { args });
  const servers: RedisServer[] = [master];
  const watchers: SentinelServer[] = [];
  const group = new RedisSentinel(servers, watchers);
  try {
    const copyOf = ['--replicaof', master.host, String(master.port)];
    servers.push(...(await startAll(replicas, () => RedisServer.start(located, { args: [...args, ...copyOf] }))));
    await group.replicated(); // a sentinel looks for replicas when it starts, then only every ten seconds
    const watch = watchOf(master, sentinels, options);
    watchers.push(...(await startAll(sentinels, () => SentinelServer.start(located, watch))));
    await group.discovered();
  } catch (error) {
    await group.stop();
    throw error;
  }
  return group;
}

function watchOf(master: RedisServer, sentinels: number, options: RedisSentinelOptions): SentinelWatch {
  const { downAfterMs = 500, failoverTimeoutMs = 3000 } = options;
  const quorum = Math.floor(sentinels / 2) + 1;
  return { name: NAME, master: { host: master.host, port: master.port }, quorum, downAfterMs, failoverTimeoutMs };
}

/** A running group: its master changes by {@link failover} or by whatever a test does to the servers. */
export class RedisSentinel {
  /** The name by which clients ask the sentinels for the master. */
  readonly name = NAME;
  private masterPort: number;

  constructor(
    private readonly servers: readonly RedisServer[],
    private readonly watchers: readonly SentinelServer[],
  ) {
    this.masterPort = servers[0]?.port ?? 0;
  }

  /** Where the sentinels listen. */
  get sentinels(): ReadonlyArray<{ readonly host: string; readonly port: number }> {
    return this.watchers.map(({ host, port }) => ({ host, port }));
  }

  /** The server that was the master at the start or after the last {@link failover}. */
  get master(): RedisServer {
    const server = this.servers.find(({ port }) => port === this.masterPort);
    if (server === undefined) throw new Error(`No server of this group has port ${this.masterPort}`);
    return server;
  }

  /** All the others, among them masters that were killed; `restart()` brings such a one back as a replica. */
  get replicas(): readonly RedisServer[] {
    return this.servers.filter(({ port }) => port !== this.masterPort);
  }

  /**
   * Kills the present master and resolves with the new one, when every sentinel names it and it takes writes.
   * @throws EventuallyTimeoutError after 30 s
   */
  async failover(): Promise<RedisServer> {
    const killed = this.master;
    await killed.kill();
    const options = { timeoutMs: TIMEOUT_MS, message: 'the sentinels named no new master' };
    this.masterPort = await eventually(() => this.electedOtherThan(killed.port), options);
    return this.master;
  }

  async stop(): Promise<void> {
    // The sentinels first: they would take the end of the others for a reason to act.
    await Promise.all(this.watchers.map((sentinel) => sentinel.stop()));
    await Promise.all(this.servers.map((server) => server.stop()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async replicated(): Promise<void> {
    const assertCopy = async (server: RedisServer): Promise<void> => {
      const info = String(await redisCommand(server.url, 'INFO', 'replication'));
      if (!info.includes('master_link_status:up')) throw new Error(`${server.url} has no copy yet`);
    };
    await eventually(() => Promise.all(this.replicas.map(assertCopy)), { timeoutMs: TIMEOUT_MS });
  }

  async discovered(): Promise<void> {
    const expected = { 'num-slaves': this.replicas.length, 'num-other-sentinels': this.watchers.length - 1 };
    const assertKnown = async (sentinel: SentinelServer): Promise<void> => {
      const reply = await redisCommand(sentinel.url, 'SENTINEL', 'MASTER', this.name);
      const fields = Array.isArray(reply) ? reply.map(String) : [];
      for (const [field, count] of Object.entries(expected)) {
        const value = fields[fields.indexOf(field) + 1];
        if (value !== String(count)) throw new Error(`${sentinel.url}: ${field} is ${value}, not ${count}`);
      }
    };
    await eventually(() => Promise.all(this.watchers.map(assertKnown)), { timeoutMs: TIMEOUT_MS });
  }

  private async electedOtherThan(port: number): Promise<number> {
    const ask = (sentinel: SentinelServer) =>
      redisCommand(sentinel.url, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.name);
    const answers = await Promise.all(this.watchers.map(ask));
    const named = new Set(answers.map((answer) => Number(Array.isArray(answer) ? answer[1] : 0)));
    const [elected] = named;
    if (elected === undefined || named.size > 1 || named.has(port)) throw new Error(`named are ${[...named].join()}`);
    const role = await redisCommand(`redis://127.0.0.1:${elected}`, 'ROLE');
    if (!Array.isArray(role) || role[0] !== 'master') throw new Error(`${elected} is not a master yet`);
    return elected;
  }
}
