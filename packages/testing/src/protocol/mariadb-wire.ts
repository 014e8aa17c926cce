import { connect, type Socket } from 'node:net';

/** The server wants a password: this minimal client only speaks to servers that let a user in without one. */
export class MariaDbPasswordRequiredError extends Error {
  override readonly name = 'MariaDbPasswordRequiredError';
}

export class MariaDbStatementError extends Error {
  override readonly name = 'MariaDbStatementError';
}

// CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION and CLIENT_PLUGIN_AUTH
const CAPABILITIES = 0x200 | 0x8000 | 0x80000;
const MAX_PACKET = 0x1_00_00_00;
const UTF8MB4 = 45;
const QUERY = 0x03;
const OK = 0x00;
const AUTH_SWITCH = 0xfe;
const ERROR = 0xff;
const ACCESS_DENIED = new Set([1045, 1698]);

/**
 * Runs one statement by the text protocol on its own connection and forgets the rows. `undefined` as the statement
 * only waits until the server would take one, which is the readiness probe.
 */
export function runMariaDbStatement(url: string, statement: string | undefined, timeoutMs = 10_000): Promise<void> {
  const { hostname, port, username, password } = new URL(url);
  if (password !== '') return Promise.reject(new MariaDbPasswordRequiredError('The URL has a password'));
  const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 3306) });
  const user = decodeURIComponent(username) || 'root';
  return new Promise<void>((resolve, reject) => {
    const exchange = new Exchange(socket, user, statement, resolve, reject);
    socket.setTimeout(timeoutMs, () => exchange.fail(new Error(`MariaDB did not answer within ${timeoutMs} ms`)));
    socket.on('data', (chunk) => exchange.receive(chunk));
    socket.on('error', (error) => exchange.fail(error));
    socket.on('close', () => exchange.fail(new Error('MariaDB closed the connection')));
  }).finally(() => socket.destroy());
}

/** greeting → logged in → answered; the first packet of an answer says whether the statement ran. */
class Exchange {
  private pending: Buffer = Buffer.alloc(0);
  private state: 'greeting' | 'login' | 'statement' = 'greeting';

  constructor(
    private readonly socket: Socket,
    private readonly user: string,
    private readonly statement: string | undefined,
    private readonly done: () => void,
    readonly fail: (error: Error) => void,
  ) {}

  receive(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk]);
    while (this.pending.length >= 4) {
      const length = this.pending.readUIntLE(0, 3);
      if (this.pending.length < length + 4) return;
      const sequence = this.pending[3] ?? 0;
      const body = this.pending.subarray(4, length + 4);
      this.pending = this.pending.subarray(length + 4);
      this.packet(body, sequence);
    }
  }

  private packet(body: Buffer, sequence: number): void {
    if (body[0] === ERROR) this.fail(failure(body));
    else if (this.state === 'greeting') {
      this.state = 'login';
      this.send(loginBody(this.user), sequence + 1);
    } else if (this.state === 'statement') this.done();
    else if (body[0] === OK) this.loggedIn();
    else if (body[0] === AUTH_SWITCH) this.send(Buffer.alloc(0), sequence + 1);
    else this.fail(new MariaDbPasswordRequiredError('MariaDB asks for more than an empty password'));
  }

  private loggedIn(): void {
    this.state = 'statement';
    if (this.statement === undefined) this.done();
    else this.send(Buffer.concat([Buffer.from([QUERY]), Buffer.from(this.statement)]), 0);
  }

  private send(body: Buffer, sequence: number): void {
    const header = Buffer.alloc(4);
    header.writeUIntLE(body.length, 0, 3);
    header[3] = sequence;
    this.socket.write(Buffer.concat([header, body]));
  }
}

function loginBody(user: string): Buffer {
  const fixed = Buffer.alloc(32);
  fixed.writeUInt32LE(CAPABILITIES, 0);
  fixed.writeUInt32LE(MAX_PACKET, 4);
  fixed[8] = UTF8MB4;
  const noPassword = 0;
  return Buffer.concat([
    fixed,
    Buffer.from(`${user}\0`),
    Buffer.from([noPassword]),
    Buffer.from('mysql_native_password\0'),
  ]);
}

/** `ff <code> # <SQLSTATE> <message>`; before the greeting the SQLSTATE is left out. */
function failure(body: Buffer): Error {
  const code = body.readUInt16LE(1);
  const hasState = body[3] === 0x23;
  const message = `${body.subarray(hasState ? 9 : 3).toString('utf8')} (error ${code})`;
  return ACCESS_DENIED.has(code) ? new MariaDbPasswordRequiredError(message) : new MariaDbStatementError(message);
}
