import { connect, type Socket } from 'node:net';

/** The server wants a password: this minimal client only speaks to servers that trust the loopback. */
export class PasswordRequiredError extends Error {
  override readonly name = 'PasswordRequiredError';
}

export class PostgresStatementError extends Error {
  override readonly name = 'PostgresStatementError';
}

const AUTHENTICATION = 'R';
const ERROR = 'E';
const READY = 'Z';

/**
 * Runs one statement by the simple query protocol on its own connection and forgets the rows. `undefined` as the
 * statement only waits until the server would take one, which is the readiness probe.
 */
export function runStatement(url: string, statement: string | undefined, timeoutMs = 10_000): Promise<void> {
  const { hostname, port, username, pathname } = new URL(url);
  const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 5432) });
  const user = decodeURIComponent(username) || 'postgres';
  const database = decodeURIComponent(pathname.slice(1)) || user;
  return new Promise<void>((resolve, reject) => {
    const exchange = new Exchange(socket, statement, resolve, reject);
    socket.setTimeout(timeoutMs, () => exchange.fail(new Error(`Postgres did not answer within ${timeoutMs} ms`)));
    socket.once('connect', () => socket.write(startupMessage(user, database)));
    socket.on('data', (chunk) => exchange.receive(chunk));
    socket.on('error', (error) => exchange.fail(error));
    socket.on('close', () => exchange.fail(new Error('Postgres closed the connection')));
  }).finally(() => socket.destroy());
}

class Exchange {
  private pending: Buffer = Buffer.alloc(0);
  private sent = false;

  constructor(
    private readonly socket: Socket,
    private readonly statement: string | undefined,
    private readonly done: () => void,
    readonly fail: (error: Error) => void,
  ) {}

  receive(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk]);
    while (this.pending.length >= 5) {
      const length = this.pending.readInt32BE(1);
      if (this.pending.length < length + 1) return;
      const type = String.fromCharCode(this.pending[0] ?? 0);
      const body = this.pending.subarray(5, length + 1);
      this.pending = this.pending.subarray(length + 1);
      this.message(type, body);
    }
  }

  private message(type: string, body: Buffer): void {
    if (type === AUTHENTICATION && body.readInt32BE(0) !== 0) {
      this.fail(new PasswordRequiredError('Postgres asks for a password'));
    } else if (type === ERROR) {
      this.fail(new PostgresStatementError(errorText(body)));
    } else if (type === READY) {
      this.ready();
    }
  }

  private ready(): void {
    if (this.sent || this.statement === undefined) {
      this.done();
      return;
    }
    this.sent = true;
    const text = Buffer.from(`${this.statement}\0`);
    const header = Buffer.alloc(5);
    header.write('Q');
    header.writeInt32BE(text.length + 4, 1);
    this.socket.write(Buffer.concat([header, text]));
  }
}

function startupMessage(user: string, database: string): Buffer {
  const body = Buffer.from(`user\0${user}\0database\0${database}\0\0`);
  const header = Buffer.alloc(8);
  header.writeInt32BE(body.length + 8, 0);
  header.writeInt32BE(196_608, 4); // protocol 3.0
  return Buffer.concat([header, body]);
}

/** The fields of an ErrorResponse are `<code byte><text>\0`; C is the SQLSTATE and M the message. */
function errorText(body: Buffer): string {
  const fields = new Map(
    body
      .toString('utf8')
      .split('\0')
      .map((field) => [field.slice(0, 1), field.slice(1)]),
  );
  return `${fields.get('M') ?? 'unknown error'} (SQLSTATE ${fields.get('C') ?? '?'})`;
}
