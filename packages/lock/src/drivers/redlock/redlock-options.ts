import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import type { RedisClient, RedisModuleOptions } from '@lockstep/redis';

/** One independent master; either `url` or `client`, as `RedisModule` takes them. */
export interface RedlockNodeOptions {
  readonly url?: string;
  readonly client?: RedisClient;
}

export interface RedlockStoreOptions {
  /**
   * An odd number of masters, at least 3, that share nothing: no replica of one another, no disk, no power supply. All
   * processes name the same ones.
   */
  readonly nodes: readonly RedlockNodeOptions[];
  /** First part of every key. Letters, digits, `.`, `_`, `-`. */
  readonly namespace: string;
  /**
   * How long a node may take to answer. No acquisition waits for one longer than a quarter of its lease.
   * @default '1s'
   */
  readonly commandTimeout?: Duration;
  /**
   * `durable-nodes`: leases have fences, at the price of one more request to each node. They rise as long as no node
   * forgets: each must run with `appendonly yes` and `appendfsync always`, and one that lost its disk must not come back
   * by itself. Without, `fence` is undefined.
   * @default false
   */
  readonly fencing?: false | 'durable-nodes';
  /**
   * Most of the random pause after a split vote (several asked at once and none got a majority). One that does not
   * wait tries thrice, too.
   * @default '50ms'
   */
  readonly retryDelay?: Duration;
  /**
   * How long a node remembers a fence after the lease that it was granted with. Must exceed what the clocks of two nodes
   * may differ by, and by how much one may be set back.
   * @default '24h'
   */
  readonly fenceRetention?: Duration;
}

export interface ResolvedRedlockOptions {
  readonly nodes: readonly RedisModuleOptions[];
  readonly retryDelayMs: number;
  /** Undefined without fencing. */
  readonly fenceRetentionMs: number | undefined;
}

/** @throws ConfigurationError naming the option and its value */
export function resolveRedlockOptions(options: RedlockStoreOptions): ResolvedRedlockOptions {
  const { nodes, namespace, commandTimeout = '1s', fencing = false } = options;
  const { retryDelay = '50ms', fenceRetention = '24h' } = options;
  assertNodes(nodes);
  if (fencing !== false && fencing !== 'durable-nodes') {
    throw ConfigurationError.option('fencing', fencing, "false or 'durable-nodes'");
  }
  const retentionMs = durationMs(fenceRetention, 'fenceRetention', { minMs: 60_000 });
  return Object.freeze({
    nodes: nodes.map((node) => ({ ...node, namespace, commandTimeout })),
    retryDelayMs: durationMs(retryDelay, 'retryDelay', { minMs: 1, maxMs: 10_000 }),
    fenceRetentionMs: fencing === false ? undefined : retentionMs,
  });
}

function assertNodes(nodes: readonly RedlockNodeOptions[]): void {
  if (!Array.isArray(nodes) || nodes.length < 3 || nodes.length % 2 === 0) {
    const shown = Array.isArray(nodes) ? `${nodes.length} of them` : nodes;
    throw ConfigurationError.option('nodes', shown, 'an odd number of independent masters, at least 3');
  }
  const seen = new Set<unknown>();
  for (const [index, { url, client }] of nodes.entries()) {
    if ((url === undefined) === (client === undefined)) {
      throw ConfigurationError.option(`nodes[${index}]`, { url, client: typeof client }, 'either `url` or `client`');
    }
    const server = client ?? serverOf(url);
    if (seen.has(server))
      throw ConfigurationError.option(`nodes[${index}]`, server, 'a server that is not named twice');
    seen.add(server);
  }
}

/** Two databases of one server fail together, so they are one node. */
function serverOf(url: string | undefined): string | undefined {
  return url !== undefined && URL.canParse(url) ? new URL(url).host : url;
}
