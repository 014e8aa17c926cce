import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { PostgresFrames } from '@lockstep/testing';

export interface TransactionPooler {
  readonly url: string;
  stop(): Promise<void>;
}

export interface TransactionPoolerOptions {
  /** Whether clients are told the process of a backend, as by proxies that only forward; else one that does not exist. */
  readonly tellsBackend?: boolean;
  /** How many backends all clients share. @default 2 */
  readonly backends?: number;
}

const READY = 'Z';
const KEY_DATA = 'K';
const IDLE = 'I'.charCodeAt(0);

/** Runs each transaction of each client on the next free one of a few backends, as poolers in transaction mode do. */
export async function startTransactionPooler(
  target: string,
  { tellsBackend = false, backends = 2 }: TransactionPoolerOptions = {},
): Promise<TransactionPooler> {
  const pool = Array.from({ length: backends }, () => new Backend(target));
  const free: Backend[] = [];
  const waiting: ((backend: Backend) => void)[] = [];
  const giveBack = (backend: Backend): void => {
    const next = waiting.shift();
    if (next) next(backend);
    else free.push(backend);
  };
  for (const backend of pool) {
    await backend.start();
    giveBack(backend);
  }
  const lend = (): Promise<Backend> => {
    const backend = free.shift();
    return backend ? Promise.resolve(backend) : new Promise((resolve) => waiting.push(resolve));
  };
  const clients = new Set<Socket>();
  const server = createServer((socket) => {
    clients.add(socket);
    new PooledClient(socket, lend, giveBack, pool[0]?.greeting(tellsBackend) ?? Buffer.alloc(0));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = async (): Promise<void> => {
    for (const socket of clients) socket.destroy();
    for (const backend of pool) backend.stop();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return { url: url.href, stop };
}

/** A session of the server; what it says goes to whoever has it. */
class Backend {
  onFrame: (type: string, bytes: Buffer) => void = () => undefined;
  private readonly hello: { type: string; bytes: Buffer }[] = [];
  private readonly socket: Socket;

  constructor(private readonly target: string) {
    const { hostname, port } = new URL(target);
    this.socket = connect({ host: hostname, port: Number(port) });
  }

  async start(): Promise<void> {
    const frames = new PostgresFrames();
    const { username, pathname } = new URL(this.target);
    const body = Buffer.from(`user\0${username}\0database\0${pathname.slice(1)}\0\0`);
    const head = Buffer.alloc(8);
    head.writeInt32BE(body.length + 8, 0);
    head.writeInt32BE(196_608, 4);
    this.socket.write(Buffer.concat([head, body]));
    await new Promise<void>((resolve, reject) => {
      this.onFrame = (type, bytes) => {
        this.hello.push({ type, bytes });
        if (type === READY) resolve();
      };
      this.socket.on('data', (chunk) => {
        for (const { type, bytes } of frames.add(chunk)) this.onFrame(type, bytes);
      });
      this.socket.on('error', reject);
    });
  }

  /** What a client of the pooler is told at the beginning. */
  greeting(tellsBackend: boolean): Buffer {
    const invented = Buffer.from([75, 0, 0, 0, 12, 0x7f, 1, 2, 3, 0, 0, 0, 1]);
    return Buffer.concat(
      this.hello.map(({ type, bytes }) => (type === KEY_DATA && !tellsBackend ? invented : Buffer.from(bytes))),
    );
  }

  send(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  stop(): void {
    this.socket.destroy();
  }
}

class PooledClient {
  private readonly frames = new PostgresFrames(1);
  private unit: Buffer[] = [];
  private backend: Backend | undefined;
  private work: Promise<void> = Promise.resolve();

  constructor(
    private readonly socket: Socket,
    private readonly lend: () => Promise<Backend>,
    private readonly giveBack: (backend: Backend) => void,
    greeting: Buffer,
  ) {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      for (const { type, bytes } of this.frames.add(chunk)) {
        if (type === '') socket.write(greeting);
        else if (type === 'X') socket.end();
        else this.gather(type, bytes);
      }
    });
  }

  /** Up to a `Query` or a `Sync` all messages belong together. */
  private gather(type: string, bytes: Buffer): void {
    this.unit.push(bytes);
    if (type !== 'Q' && type !== 'S') return;
    const unit = Buffer.concat(this.unit.splice(0));
    this.work = this.work.then(() => this.run(unit));
  }

  private async run(unit: Buffer): Promise<void> {
    this.backend ??= await this.lend();
    const { backend } = this;
    await new Promise<void>((resolve) => {
      backend.onFrame = (type, bytes) => {
        this.socket.write(bytes);
        if (type !== READY) return;
        if (bytes[5] === IDLE) {
          this.backend = undefined;
          backend.onFrame = () => undefined;
          this.giveBack(backend);
        }
        resolve();
      };
      backend.send(unit);
    });
  }
}
