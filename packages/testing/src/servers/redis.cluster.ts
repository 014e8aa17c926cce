import { eventually } from '../eventually.js';
import { redisCommand } from '../protocol/redis-socket.js';
import { type LocatedServer, locateRedis, ServerNotAvailableError } from '../provision/index.js';
import { RedisServer } from './redis.server.js';

export interface RedisClusterOptions {
  /**
   * Nodes that share the 16384 slots; Redis wants three at least.
   * @default 3
   */
  readonly masters?: number;
  /**
   * Replicas of each master.
   * @default 0
   */
  readonly replicas?: number;
  /**
   * After so many milliseconds of silence a node counts as failed.
   * @default 2000
   */
  readonly nodeTimeoutMs?: number;
  /** Further arguments of every node. */
  readonly args?: readonly string[];
}

const SLOTS = 16_384;
const FORM_TIMEOUT_MS = 20_000;

/**
 * Starts a real Redis Cluster on the loopback and resolves when every node says that the cluster is well.
 * @throws ServerNotAvailableError when no server program can be had; containers do not do, they cannot reach each other
 */
export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { masters = 3, replicas = 0 } = options;
  const located = await locateProgram('a cluster');
  const nodes = await startAll(masters * (1 + replicas), () => startNode(located, options));
  const cluster = new RedisCluster(nodes.slice(0, masters), nodes.slice(masters));
  try {
    await cluster.form();
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}

/** A running cluster. Each node can be killed, paused and restarted; the others go on. */
export class RedisCluster {
  constructor(
    /** The nodes that had slots at the start, in the order of their slots. */
    readonly masters: readonly RedisServer[],
    /** The replica at `i` belongs to the master at `i % masters.length`, at the start. */
    readonly replicas: readonly RedisServer[],
  ) {}

  get nodes(): readonly RedisServer[] {
    return [...this.masters, ...this.replicas];
  }

  get urls(): readonly string[] {
    return this.nodes.map((node) => node.url);
  }

  /** Gives out the slots, lets the nodes meet, attaches the replicas, waits until all agree. */
  async form(): Promise<void> {
    await Promise.all(this.masters.map((node, index) => this.assignSlots(node, index)));
    const [first, ...others] = this.nodes;
    for (const node of others) await redisCommand(node.url, 'CLUSTER', 'MEET', node.host, String(first?.port));
    await Promise.all(this.replicas.map((node, index) => this.attach(node, index)));
    await eventually(() => Promise.all(this.nodes.map((node) => this.assertWell(node))), {
      timeoutMs: FORM_TIMEOUT_MS,
      message: 'the cluster did not form',
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  private async assignSlots(node: RedisServer, index: number): Promise<void> {
    const first = Math.floor((index * SLOTS) / this.masters.length);
    const end = Math.floor(((index + 1) * SLOTS) / this.masters.length);
    // One by one: Redis 6.2 has no command for a range.
    const slots = Array.from({ length: end - first }, (_, offset) => String(first + offset));
    await redisCommand(node.url, 'CLUSTER', 'ADDSLOTS', ...slots);
    // Nodes with equal epochs settle that between them, one after the other; it takes longer than all the rest.
    await redisCommand(node.url, 'CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
  }

  private async attach(node: RedisServer, index: number): Promise<void> {
    const master = this.masters[index % this.masters.length];
    if (master === undefined) throw new TypeError('A cluster needs a master');
    const id = String(await redisCommand(master.url, 'CLUSTER', 'MYID'));
    // Refused until the gossip has told the node of its master.
    await eventually(() => redisCommand(node.url, 'CLUSTER', 'REPLICATE', id), { timeoutMs: FORM_TIMEOUT_MS });
  }

  private async assertWell(node: RedisServer): Promise<void> {
    const info = String(await redisCommand(node.url, 'CLUSTER', 'INFO'));
    if (!info.includes('cluster_state:ok')) throw new Error(`${node.url}: ${info}`);
    if (!info.includes(`cluster_known_nodes:${this.nodes.length}\r\n`)) throw new Error(`${node.url}: ${info}`);
    const replication = String(await redisCommand(node.url, 'INFO', 'replication'));
    const isBehind = this.replicas.includes(node) && !replication.includes('master_link_status:up');
    if (isBehind) throw new Error(`${node.url} has no copy yet`);
  }
}

/** Servers that find each other by address need programs of this machine: containers see another loopback. */
export async function locateProgram(purpose: string): Promise<LocatedServer> {
  const located = await locateRedis();
  if (located.image === undefined) return located;
  const reason = `docker: containers cannot reach each other by the addresses of ${purpose}`;
  throw new ServerNotAvailableError('redis', [reason], 'Install redis-server (6.2 or newer).');
}

/** Starts so many servers at once; when one fails, the others are stopped. */
export async function startAll<T extends { stop(): Promise<void> }>(
  count: number,
  start: (index: number) => Promise<T>,
): Promise<T[]> {
  const results = await Promise.allSettled(Array.from({ length: count }, (_, index) => start(index)));
  const started = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed === undefined) return started;
  await Promise.all(started.map((server) => server.stop()));
  throw failed.reason;
}

function startNode(located: LocatedServer, options: RedisClusterOptions): Promise<RedisServer> {
  const { nodeTimeoutMs = 2000, args = [] } = options;
  const own = ['--cluster-enabled', 'yes', '--cluster-node-timeout', String(nodeTimeoutMs)];
  return RedisServer.start(located, { args: [...own, ...args] });
}
