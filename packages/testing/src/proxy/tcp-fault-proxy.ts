import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { freePort } from '../servers/free-port.js';
import { ProxiedConnection, type Target } from './proxied-connection.js';
import type { Direction, Pump } from './pump.js';

export interface FaultProxyOptions {
  /** Where connections go: an address, or a URL whose host and port are meant. */
  readonly target: Target | string;
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = {
  'redis:': 6379,
  'postgres:': 5432,
  'postgresql:': 5432,
  'mysql:': 3306,
  'mariadb:': 3306,
  'http:': 80,
};
const BOTH: readonly Direction[] = ['toServer', 'toClient'];

/** Starts a TCP proxy on 127.0.0.1 that can be told to misbehave as networks do. */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const proxy = new FaultProxy(toTarget(options.target), await freePort());
  await proxy.listen();
  return proxy;
}

/**
 * A TCP proxy with faults: healthy → any mix of delayed, held, limited, refusing → healthy ({@link heal}). Faults hold
 * for the connections of now and for those that come. It works on the byte stream: it cannot reorder or duplicate.
 */
export class FaultProxy {
  readonly host = '127.0.0.1';
  private readonly open = new Set<ProxiedConnection>();
  /** What a new connection must be told to catch up with the others. */
  private readonly standing: Array<(connection: ProxiedConnection) => void> = [];
  private server: Server | undefined;

  constructor(
    private readonly target: Target,
    readonly port: number,
  ) {}

  /** Connections that are open through the proxy now. */
  get connections(): number {
    return this.open.size;
  }

  /** The same URL, by way of the proxy. */
  urlFor(url: string): string {
    const rewritten = new URL(url);
    rewritten.hostname = this.host;
    rewritten.port = String(this.port);
    return rewritten.href;
  }

  /** Delivers every chunk so many milliseconds late, in the named direction or in both. */
  delay(ms: number, direction?: Direction): void {
    this.apply(direction, (pump) => {
      pump.delayMs = ms;
    });
  }

  /** Delivers nothing, and closes nothing. What was sent meanwhile arrives after {@link heal}. */
  blackhole(options: { readonly direction?: Direction } = {}): void {
    this.apply(options.direction, (pump) => pump.hold());
  }

  /**
   * Forwards `bytes` more per connection, then resets it. `dropAfter(0, 'toClient')` lets a command take effect and
   * loses its answer. Where bytes and reset arrive together, some systems show the reader a plain end of the stream.
   */
  dropAfter(bytes: number, direction: Direction = 'toClient'): void {
    this.apply(direction, (pump) => pump.limit(bytes));
  }

  /** Resets every open connection, once. */
  cut(): void {
    for (const connection of [...this.open]) connection.cut();
  }

  /** The target loses the connections of now, their clients do not learn of it. Reset by {@link heal}. */
  halfOpen(): void {
    for (const connection of [...this.open]) connection.sever();
  }

  /** Refuses new connections as a closed port does; open ones go on. */
  refuse(): void {
    // The port is closed at once. The 'close' event would wait for the open connections, which is why nobody does.
    this.server?.close();
    this.server = undefined;
  }

  /** Takes every fault back. */
  async heal(): Promise<void> {
    this.standing.length = 0;
    for (const connection of [...this.open]) connection.heal();
    await this.listen();
  }

  /** Ends all connections and the proxy. */
  async stop(): Promise<void> {
    this.refuse();
    this.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Accepts connections; nothing to do when it does already. */
  async listen(): Promise<void> {
    if (this.server !== undefined) return;
    const server = createServer({ allowHalfOpen: true }, (socket) => this.accept(socket));
    this.server = server;
    server.listen(this.port, this.host);
    await once(server, 'listening');
  }

  private accept(socket: Socket): void {
    const connection = new ProxiedConnection(socket, this.target, () => this.open.delete(connection));
    this.open.add(connection);
    for (const fault of this.standing) fault(connection);
  }

  private apply(direction: Direction | undefined, change: (pump: Pump) => void): void {
    const fault = (connection: ProxiedConnection): void => {
      for (const each of direction === undefined ? BOTH : [direction]) change(connection.pump(each));
    };
    this.standing.push(fault);
    for (const connection of this.open) fault(connection);
  }
}

function toTarget(target: Target | string): Target {
  if (typeof target !== 'string') return target;
  const { hostname, port, protocol } = new URL(target);
  const number = port === '' ? DEFAULT_PORTS[protocol] : Number(port);
  if (number === undefined) throw new TypeError(`The target has no port: ${protocol}//${hostname}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: number };
}
