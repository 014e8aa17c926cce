import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import type { ACL, Client } from 'node-zookeeper-client';

/** How a lock lies in ZooKeeper. */
export type ZooKeeperRecipe = 'sequential' | 'ephemeral';

export interface ZooKeeperLockStoreOptions {
  /** The servers: `host:port`, several with commas. */
  readonly connect: string;
  /**
   * The path below which all locks lie. Stores that share keys must have the same root and the same recipe.
   * @default '/lockstep/locks'
   */
  readonly root?: string;
  /**
   * `sequential`: everybody queues with a node of their own and watches the one before; fair, no herd, can be shared.
   * `ephemeral`: all fight for one node and watch it; every release wakes all who wait, and none of them is first by
   * right.
   * @default 'sequential'
   */
  readonly recipe?: ZooKeeperRecipe;
  /**
   * How long ZooKeeper lets the application be silent before it gives its locks to others; the servers may have bounds of
   * their own and then decide. It is the lease of every lock here: a `ttl` changes nothing.
   * @default '15s'
   */
  readonly sessionTimeout?: Duration;
  /**
   * After that long without an answer an operation has failed.
   * @default '1s'
   */
  readonly commandTimeout?: Duration;
  /**
   * Access lists of the nodes.
   * @default anybody may do anything
   */
  readonly acls?: readonly ACL[];
  /** Called with every new client before it connects, for `client.addAuthInfo(…)`. */
  prepare?(client: Client): void;
}

export interface ResolvedZooKeeperOptions {
  readonly connect: string;
  readonly root: string;
  readonly recipe: ZooKeeperRecipe;
  readonly sessionTimeoutMs: number;
  readonly commandTimeoutMs: number;
  readonly acls: readonly ACL[] | undefined;
  readonly prepare: (client: Client) => void;
}

const ADDRESS = /^[^\s/,]+:\d+(,[^\s/,]+:\d+)*$/;
const ROOT = /^(\/[A-Za-z0-9_-]+)+$/;

/** @throws ConfigurationError naming the option and its value */
export function resolveZooKeeperOptions(options: ZooKeeperLockStoreOptions): ResolvedZooKeeperOptions {
  const { connect, root = '/lockstep/locks', recipe = 'sequential', acls } = options;
  const { sessionTimeout = '15s', commandTimeout = '1s' } = options;
  if (typeof connect !== 'string' || !ADDRESS.test(connect)) {
    throw ConfigurationError.option('connect', connect, "'host:port', several with commas; a path belongs into root");
  }
  if (!ROOT.test(root)) throw ConfigurationError.option('root', root, 'a path of letters, digits, - and _');
  if (recipe !== 'sequential' && recipe !== 'ephemeral') {
    throw ConfigurationError.option('recipe', recipe, "'sequential' or 'ephemeral'");
  }
  return Object.freeze({
    connect,
    root,
    recipe,
    acls,
    sessionTimeoutMs: durationMs(sessionTimeout, 'sessionTimeout', { minMs: 500 }),
    commandTimeoutMs: durationMs(commandTimeout, 'commandTimeout', { minMs: 10 }),
    prepare: (client: Client) => options.prepare?.(client),
  });
}
