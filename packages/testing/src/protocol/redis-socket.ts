import { connect, type Socket } from 'node:net';
import { encodeCommand, RespError, RespParser, type RespValue } from './resp-parser.js';

interface Waiter {
  resolve(value: RespValue): void;
  reject(error: Error): void;
}

/**
 * One raw connection to a Redis server. The tools use it instead of a client library because a client adds commands
 * of its own (HELLO, INFO, CLIENT SETINFO) and reconnects by itself; both would blur what a test measures.
 */
export class RedisSocket {
  private readonly waiters: Waiter[] = [];
  private readonly parser = new RespParser();
  private onUnasked: ((value: RespValue) => void) | undefined;

  private constructor(private readonly socket: Socket) {
    socket.on('data', (chunk) => this.receive(chunk));
    socket.on('close', () => this.failAll(new Error('The connection to Redis was closed')));
  }

  /** Connects and authenticates; rejects after `timeoutMs` (default 1000). */
  static async connect(url: string, timeoutMs = 1000): Promise<RedisSocket> {
    const { hostname, port, username, password } = new URL(url);
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) });
    await connected(socket, timeoutMs);
    const redis = new RedisSocket(socket);
    if (password !== '') {
      const secret = decodeURIComponent(password);
      await redis.command('AUTH', ...(username === '' ? [secret] : [decodeURIComponent(username), secret]));
    }
    return redis;
  }

  /** `address:port` of this end, as the server's CLIENT LIST and MONITOR show it. */
  get localAddress(): string {
    return `${this.socket.localAddress}:${this.socket.localPort}`;
  }

  /** Sends one command; an error reply rejects with {@link RespError}. */
  command(...args: string[]): Promise<RespValue> {
    return new Promise((resolve, reject) => {
      this.waiters.push({ resolve, reject });
      this.socket.write(encodeCommand(args));
    });
  }

  /** Receives what comes when no command is waiting (the lines of MONITOR). */
  listen(receiver: (value: RespValue) => void): void {
    this.onUnasked = receiver;
  }

  close(): void {
    this.socket.destroy();
  }

  private receive(chunk: Buffer): void {
    for (const value of this.parser.push(chunk)) {
      const waiter = this.waiters.shift();
      if (waiter === undefined) this.onUnasked?.(value);
      else if (value instanceof RespError) waiter.reject(value);
      else waiter.resolve(value);
    }
  }

  private failAll(error: Error): void {
    for (const waiter of this.waiters.splice(0)) waiter.reject(error);
  }
}

function connected(socket: Socket, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new Error(`No connection within ${timeoutMs} ms`)), timeoutMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve();
    });
    // Stays for the life of the socket: a later reset is told to the waiting commands by 'close', not thrown.
    socket.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

/** One command on a connection of its own. */
export async function redisCommand(url: string, ...args: string[]): Promise<RespValue> {
  const redis = await RedisSocket.connect(url);
  try {
    return await redis.command(...args);
  } finally {
    redis.close();
  }
}
