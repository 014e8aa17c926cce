import type { Incidents } from '@lockstep/core';
import { type BackendFactory, QueueKeys, RedisConnection, RedisQueueBackend } from 'bullmq';
import type { BullmqRedisOptions } from '../bullmq.options.js';
import type { JobServer } from './job-server.js';
import { Latch } from './latch.js';
import { type RedisClientKind, type RedisClientLike, redisClientFactory } from './redis-clients.js';

const SOURCE = 'bullmq.redis';

/**
 * Jobs on Redis. One connection carries the commands of all queues and fails fast, one carries the bookkeeping of all
 * workers and waits for the server, and each worker has one more that blocks.
 */
export class RedisJobServer implements JobServer {
  readonly store = 'redis';
  readonly answersInOrder = true;
  private readonly ready = new Latch();
  private readonly clients = new Set<RedisClientLike>();
  private readonly commands: RedisClientLike;
  private work: RedisClientLike | undefined;
  private isClosed = false;

  private constructor(
    private readonly make: (kind: RedisClientKind) => RedisClientLike,
    readonly prefix: string,
    private readonly incidents: Incidents,
  ) {
    this.commands = this.client('commands');
    this.commands.on('ready', () => this.connected());
    this.commands.on('close', () => this.ready.setShut());
  }

  static async open(
    source: BullmqRedisOptions,
    namespace: string,
    commandTimeoutMs: number,
    incidents: Incidents,
  ): Promise<RedisJobServer> {
    return new RedisJobServer(await redisClientFactory(source, commandTimeoutMs), namespace, incidents);
  }

  readonly backendFactory: BackendFactory = (name, opts, { withBlockingConnection = false } = {}) => {
    const keys = new QueueKeys(this.prefix);
    const shared = withBlockingConnection ? this.workClient() : this.commands;
    const connection = new RedisConnection(shared, { shared: true, blocking: false });
    const blocking = withBlockingConnection
      ? new RedisConnection(this.client('blocking'), { shared: false, blocking: true })
      : undefined;
    return new RedisQueueBackend(
      connection,
      name,
      keys.getKeys(name),
      (type) => keys.toKey(name, type),
      opts,
      blocking,
    );
  };

  /** The whole name is the hash tag: the keys of one queue lie in one slot. */
  queueName(kind: string, entity: string): string {
    return `{${kind}/${entity}}`;
  }

  get isReady(): boolean {
    return this.ready.isOpen;
  }

  whenReady(): Promise<void> {
    return this.ready.whenOpen();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.ready.destroy(new Error('The connection to Redis was closed'));
    for (const client of this.clients) client.disconnect();
    this.clients.clear();
  }

  private workClient(): RedisClientLike {
    this.work ??= this.client('work');
    return this.work;
  }

  private client(kind: RedisClientKind): RedisClientLike {
    const client = this.make(kind);
    this.clients.add(client);
    client.on('error', (cause: unknown) =>
      this.report('REDIS_CONNECTION_FAILED', `the ${kind} connection failed`, cause),
    );
    // BullMQ ends a worker's blocking connection when it closes the worker, but also to shake off a command that hangs.
    client.on('connect', () => this.clients.add(client));
    client.on('end', () => this.clients.delete(client));
    return client;
  }

  private connected(): void {
    this.ready.setOpen();
    this.commands.info('memory').then(
      (info) => this.checkEviction(info),
      (cause: unknown) =>
        this.report('REDIS_POLICY_UNKNOWN', 'INFO memory was refused; maxmemory-policy unchecked', cause),
    );
  }

  private checkEviction(info: string): void {
    const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
    if (policy === undefined || policy === 'noeviction') return;
    this.report('REDIS_EVICTS', `maxmemory-policy is ${policy}: Redis may drop jobs; set it to noeviction`);
  }

  private report(code: string, message: string, cause?: unknown): void {
    if (this.isClosed) return;
    this.incidents.report({ code, source: SOURCE, message, cause });
  }
}
