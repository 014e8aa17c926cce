import { ConfigurationError, type Duration, durationMs, isObject, wholeNumber, wrongShape } from '@lockstep/core';
import type { NatsConnection, NodeConnectionOptions } from '@nats-io/transport-node';
import { checkServer } from './option-checks.js';

/** Where the streams are: exactly one of the two. */
export type NatsServerOptions =
  | {
      /** `nats://…` or `tls://…`, one or several of a cluster. The driver connects, reconnects and closes by itself. */
      readonly servers: string | readonly string[];
      /** Credentials, TLS and whatever else the client takes; what the driver sets itself is left out. */
      readonly connectionOptions?: Omit<
        NodeConnectionOptions,
        'servers' | 'reconnect' | 'maxReconnectAttempts' | 'waitOnFirstConnect' | 'timeout'
      >;
      readonly connection?: never;
    }
  | {
      /**
       * A connection of the application, which is not closed. Connect it with `maxReconnectAttempts: -1`: once it has
       * given up, so has the transport.
       */
      readonly connection: NatsConnection;
      readonly servers?: never;
    };

export type NatsTransportOptions = NatsServerOptions & {
  /** Keeps applications on one account apart: letters, digits, `_` and `-`, at most 32. @default 'lockstep' */
  readonly namespace?: string;
  /** How long a publish may take before its outcome counts as unknown. @default '1s' */
  readonly commandTimeout?: Duration;
  /**
   * How long a process may be silent about a message before the server gives it to another one. A handler that blocks
   * the event loop for longer runs twice at a time. The same for all processes of a route. @default '30s'
   */
  readonly ackWait?: Duration;
  /**
   * A larger message is rejected (all of it as it is stored, in UTF-8). The server's own `max_payload` holds besides.
   * @default 262144
   */
  readonly maxMessageBytes?: number;
  /** Copies of a stream in a cluster, 1 to 5; read when a stream is created. @default 1 */
  readonly replicas?: number;
};

export type NatsSource =
  | { readonly kind: 'servers'; readonly connect: NodeConnectionOptions }
  | { readonly kind: 'connection'; readonly connection: NatsConnection };

export interface ResolvedNatsOptions {
  readonly source: NatsSource;
  readonly namespace: string;
  readonly commandTimeoutMs: number;
  readonly ackWaitMs: number;
  readonly maxMessageBytes: number;
  readonly replicas: number;
}

const NAMESPACE = /^[A-Za-z0-9_-]{1,32}$/;

/** @throws ConfigurationError naming the option and its value, without passwords */
export function resolveNatsOptions(options: NatsTransportOptions): ResolvedNatsOptions {
  if (!isObject(options)) throw wrongShape('nats options', options, "an object with 'servers' or 'connection'");
  const namespace = options.namespace ?? 'lockstep';
  if (!NAMESPACE.test(namespace)) {
    throw ConfigurationError.option('namespace', namespace, '1 to 32 letters, digits, _ or -');
  }
  return Object.freeze({
    source: sourceOf(options),
    namespace,
    commandTimeoutMs: durationMs(options.commandTimeout ?? '1s', 'commandTimeout', { minMs: 10, maxMs: 60_000 }),
    ackWaitMs: durationMs(options.ackWait ?? '30s', 'ackWait', { minMs: 300, maxMs: 3_600_000 }),
    maxMessageBytes: wholeNumber('maxMessageBytes', options.maxMessageBytes ?? 262_144, 1, 67_108_864),
    replicas: wholeNumber('replicas', options.replicas ?? 1, 1, 5),
  });
}

function sourceOf(options: NatsServerOptions): NatsSource {
  if ((options.servers === undefined) === (options.connection === undefined)) {
    throw new ConfigurationError("NATS needs exactly one of the options 'servers' and 'connection'.");
  }
  if (options.connection !== undefined) {
    const { connection } = options;
    if (typeof connection?.request !== 'function') throw wrongShape('connection', connection, 'a connection to NATS');
    return { kind: 'connection', connection };
  }
  const servers = typeof options.servers === 'string' ? [options.servers] : options.servers;
  if (!Array.isArray(servers) || servers.length === 0) throw wrongShape('servers', servers, 'a URL or a list of URLs');
  for (const server of servers) checkServer('servers', server);
  return { kind: 'servers', connect: { ...options.connectionOptions, servers: [...servers] } };
}
