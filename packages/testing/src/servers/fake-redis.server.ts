import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { RespParser } from '../protocol/resp-parser.js';
import { freePort } from './free-port.js';

export interface FakeRedisOptions {
  /**
   * What HELLO and INFO claim. Below 6 HELLO is unknown, as it was.
   * @default '5.0.14'
   */
  readonly version?: string;
  /** Raw RESP replies by command name in upper case, e.g. `{ GET: '$-1\r\n' }`; they win over the built-in ones. */
  readonly replies?: Readonly<Record<string, string>>;
}

/** Something that greets like a Redis of the given version and can do nothing else: for "this server is too old". */
export async function startFakeRedis(options: FakeRedisOptions = {}): Promise<FakeRedis> {
  const fake = new FakeRedis(await freePort(), options.version ?? '5.0.14', options.replies ?? {});
  await fake.listen();
  return fake;
}

export class FakeRedis {
  readonly host = '127.0.0.1';
  /** Every command received, arguments included. */
  readonly received: string[][] = [];
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  constructor(
    readonly port: number,
    readonly version: string,
    private readonly replies: Readonly<Record<string, string>>,
  ) {
    this.server = createServer((socket) => this.serve(socket));
  }

  get url(): string {
    return `redis://${this.host}:${this.port}`;
  }

  async listen(): Promise<void> {
    this.server.listen(this.port, this.host);
    await once(this.server, 'listening');
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
    await once(this.server, 'close');
  }

  private serve(socket: Socket): void {
    const parser = new RespParser();
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => socket.destroy()); // a client that leaves in the middle is what tests do
    socket.on('data', (chunk) => {
      for (const value of parser.push(chunk)) {
        if (Array.isArray(value)) socket.write(this.answer(value.map(String)));
      }
    });
  }

  private answer(command: string[]): string {
    this.received.push(command);
    const name = (command[0] ?? '').toUpperCase();
    return this.replies[name] ?? this.builtIn(name, command);
  }

  private builtIn(name: string, command: readonly string[]): string {
    switch (name) {
      case 'PING':
        return '+PONG\r\n';
      case 'AUTH':
      case 'SELECT':
      case 'QUIT':
        return '+OK\r\n';
      case 'CLIENT':
        return command[1]?.toUpperCase() === 'ID' ? ':1\r\n' : '+OK\r\n';
      case 'INFO':
        return bulk(
          `# Server\r\nredis_version:${this.version}\r\nredis_mode:standalone\r\nrole:master\r\nloading:0\r\n`,
        );
      case 'HELLO':
        return this.hello(command[1]);
      default:
        return unknown(name);
    }
  }

  private hello(protocol = '2'): string {
    if (Number.parseInt(this.version, 10) < 6) return unknown('HELLO');
    const fields = { server: 'redis', version: this.version, mode: 'standalone', role: 'master' };
    const flat = Object.entries(fields).flat().map(bulk).join('');
    const count = Object.keys(fields).length;
    return protocol === '3' ? `%${count}\r\n${flat}` : `*${count * 2}\r\n${flat}`;
  }
}

function bulk(text: string): string {
  return `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
}

function unknown(name: string): string {
  return `-ERR unknown command '${name}'\r\n`;
}
