import { randomUUID } from 'node:crypto';
import { ConfigurationError, type Incidents, monotonicMs, ServerClock } from '@lockstep/core';
import calculateSlot from 'cluster-key-slot';
import { type ClientSource, clientSource } from './client/client-source.js';
import { CommandWatchdog } from './client/command-watchdog.js';
import type { RedisArgument, RedisClient } from './client/redis-client.js';
import { commandError, NOT_SENT } from './redis.errors.js';
import { type RedisModuleOptions, type ResolvedRedisOptions, resolveRedisOptions } from './redis.options.js';
import { redisKey } from './redis-key.js';
import { RedisSubscriber } from './redis-subscriber.js';
import { ReplicaBarrier, type ReplicaBarrierOptions } from './replica-barrier.js';
import { FlushTick } from './script/flush-tick.js';
import { RedisScript } from './script/redis-script.js';
import type { ScriptDefinition } from './script/script-definition.js';
import { ServerGate } from './server-gate.js';

const BARRIER_FAILED = {
  code: 'REDIS_CONNECTION',
  source: 'redis.barrier',
  message: 'the connection that asks for replicas failed',
};

/**
 * The connection of all guarantees to one Redis: scripts whose concurrent calls travel as one, single commands, pushes.
 * An operation waits for a connection at most the command timeout, so a Redis that is down costs an error, not a boot.
 */
export class RedisConnection {
  readonly namespace: string;
  readonly isCluster: boolean;
  /** How long a command may take before its outcome counts as unknown. */
  readonly commandTimeoutMs: number;
  private readonly client: RedisClient;
  private readonly clock = new ServerClock();
  private readonly tick = new FlushTick();
  private readonly subscriber: RedisSubscriber;
  private readonly gate: ServerGate;
  private readonly watchdog: CommandWatchdog | undefined;
  private readonly barriers: ReplicaBarrier[] = [];
  private readySince = Number.POSITIVE_INFINITY;

  /**
   * A connection of one's own, beside that of `RedisModule`, for a driver that needs several servers. Whoever opens it
   * closes it. Resolves before the server is there.
   *
   * @throws ConfigurationError naming the option and its value, or when a URL is given and ioredis is not installed
   */
  static async open(options: RedisModuleOptions, incidents: Incidents): Promise<RedisConnection> {
    const resolved = resolveRedisOptions(options);
    return new RedisConnection(await clientSource(resolved), resolved, incidents);
  }

  constructor(
    private readonly source: ClientSource,
    { namespace, commandTimeoutMs }: ResolvedRedisOptions,
    private readonly incidents: Incidents,
  ) {
    this.namespace = namespace;
    this.commandTimeoutMs = commandTimeoutMs;
    this.isCluster = source.isCluster;
    this.client = source.open();
    if (!source.isCluster) {
      this.watchdog = new CommandWatchdog(this.client, commandTimeoutMs, () => this.gate.replaceConnection());
    }
    this.gate = new ServerGate(this.client, this.call.bind(this), this.clock, commandTimeoutMs, incidents);
    this.subscriber = new RedisSubscriber(() => source.open(), commandTimeoutMs, incidents);
    this.client.on('ready', () => {
      if (this.readySince < Number.POSITIVE_INFINITY) this.subscriber.reconnect();
      this.readySince = monotonicMs();
    });
  }

  /** `<namespace>:<kind>:{<entity>}`: everything about one entity shares a hash slot. Any string is a valid entity. */
  key(kind: string, entity: string): string {
    return redisKey(this.namespace, kind, entity);
  }

  /**
   * A script whose concurrent calls travel as one, for the life of the connection: make each once. Calls that gather in
   * one tick are sent script by script, in the order in which the scripts were made here.
   *
   * @throws ConfigurationError when the Lua function does not take what the definition declares
   */
  script<Item, Result>(definition: ScriptDefinition<Item, Result>): RedisScript<Item, Result> {
    const { isCluster, tick, clock } = this;
    const command = this.sendCommand.bind(this);
    const reconnect = (): void => this.gate.replaceConnection();
    return new RedisScript(definition, { isCluster, tick, clock, command, reconnect });
  }

  /** Whether one command may touch all of these keys: always, but on a Cluster only where they share a hash slot. */
  sharesSlot(keys: readonly string[]): boolean {
    if (!this.isCluster) return true;
    const [first = '', ...rest] = keys;
    const slot = calculateSlot(first);
    return rest.every((key) => calculateSlot(key) === slot);
  }

  /** Since when the connection stands, by the local monotonic clock; Infinity before the first. */
  get connectedAt(): number {
    return this.readySince;
  }

  /**
   * What tells whether the writes of this connection have reached replicas.
   *
   * @throws ConfigurationError on a Cluster, where every master would have to be asked
   */
  replicaBarrier(options: ReplicaBarrierOptions): ReplicaBarrier {
    if (this.isCluster) throw new ConfigurationError('Waiting for replicas is not supported on a Redis Cluster.');
    const barrier = new ReplicaBarrier(() => this.source.open(), this.key('barrier', randomUUID()), {
      ...options,
      commandTimeoutMs: this.commandTimeoutMs,
      write: (...args) => this.command('replicate', 'psetex', ...args),
      connectedAt: () => this.readySince,
      report: (cause) => this.incidents.report({ ...BARRIER_FAILED, cause }),
    });
    this.barriers.push(barrier);
    return barrier;
  }

  /**
   * Sends one command.
   *
   * @param operation what it is for, as errors shall say
   * @throws StoreUnavailableError `not-applied` when it was never sent or refused, else `unknown`
   * @throws ConfigurationError while the server is older than supported
   */
  async command(operation: string, command: string, ...args: RedisArgument[]): Promise<unknown> {
    try {
      return await this.sendCommand(operation, command, args);
    } catch (error) {
      throw commandError(operation, error);
    }
  }

  /** The server's clock in milliseconds since 1970, as estimated here; see {@link serverTimeBoundMs}. */
  serverTimeMs(): number {
    return this.clock.nowMs();
  }

  /**
   * By how much {@link serverTimeMs} may be wrong; Infinity before the first connection. On a Cluster it is the clock of
   * the master that answered last, and others may differ by more.
   */
  serverTimeBoundMs(): number {
    return this.clock.errorBoundMs();
  }

  /**
   * Hears what is published on a channel, over a connection that all subscriptions of this process share. Delivery is
   * at most once: `onResubscribed` tells that messages may have been missed. Joining a channel that others hear already
   * needs no answer of the server; if its connection is being replaced just then, `onResubscribed` follows. The callbacks
   * run in the asynchronous context of this call; what they throw is reported.
   *
   * @returns ends the subscription; never rejects
   * @throws StoreUnavailableError when the server has not confirmed within the command timeout
   */
  subscribe(
    channel: string,
    onMessage: (message: string) => void,
    onResubscribed: () => void = () => undefined,
  ): Promise<() => Promise<void>> {
    return this.subscriber.subscribe(channel, { onMessage, onResubscribed });
  }

  /** Drops all connections; whatever is in flight gets `unknown`. */
  async close(): Promise<void> {
    this.subscriber.close();
    for (const barrier of this.barriers) barrier.close();
    this.client.disconnect();
  }

  private sendCommand(operation: string, command: string, args: RedisArgument[]): Promise<unknown> {
    if (this.gate.isOpen) return this.call(command, args);
    return this.gate.pass(operation).then(() => this.call(command, args));
  }

  private call(command: string, args: RedisArgument[]): Promise<unknown> {
    if (this.watchdog) return this.watchdog.watch(this.client.call(command, args));
    // A Cluster that is not ready would keep the command until it is, however long, when nobody waits for it any more.
    if (this.client.status !== 'ready') return Promise.reject(new Error(NOT_SENT));
    return this.client.call(command, args);
  }
}
