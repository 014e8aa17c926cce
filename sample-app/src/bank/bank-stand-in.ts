import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * `late`: it charges, but answers when nobody waits any more. `lost`: it breaks the connection and charges nothing. `held`:
 * the charge stays under way until {@link BankStandIn.letGo}.
 */
export type BankFault = 'late' | 'lost' | 'held';

const LATE_MS = 4_000;
const CHARGE = /^\/charges\/([0-9a-f-]{36})$/;
const LONGEST_BODY = 1_024;

interface Charge {
  readonly cents: number;
  readonly status: 'charged' | 'void';
}

/**
 * A bank for the tour and the tests, which now and then does not answer in time.
 *
 * `PUT /charges/<reference>` charges once a reference; `DELETE` says what became of it, for good: what was not charged by
 * then never will be. `GET /charges` counts. `PUT /faults/late` and `PUT /faults/lost` are for the next charge.
 */
export class BankStandIn {
  private readonly charges = new Map<string, Charge>();
  private readonly faults: BankFault[] = [];
  private held: (() => void)[] = [];

  private constructor(private readonly server: Server) {
    server.on('request', (request, response) => void this.answer(request, response));
  }

  static async open(): Promise<BankStandIn> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new BankStandIn(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** What it has charged, together. */
  get cents(): number {
    return this.charged.reduce((sum, { cents }) => sum + cents, 0);
  }

  /** How many charges it has made. */
  get count(): number {
    return this.charged.length;
  }

  /** For the next charge. */
  fail(fault: BankFault): void {
    this.faults.push(fault);
  }

  /** Lets the charges arrive that are under way. @returns how many */
  letGo(): number {
    const arriving = this.held;
    this.held = [];
    for (const arrive of arriving) arrive();
    return arriving.length;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private get charged(): readonly Charge[] {
    return [...this.charges.values()].filter(({ status }) => status === 'charged');
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url = '' } = request;
    const body = await read(request);
    const reference = CHARGE.exec(url)?.[1];
    if (reference !== undefined && method === 'PUT') return this.charge(reference, Number(body.cents), response);
    if (reference !== undefined && method === 'DELETE') return send(response, 200, this.settled(reference));
    if (url === '/charges') return send(response, 200, { count: this.count, cents: this.cents });
    const fault = /^\/faults\/(late|lost)$/.exec(url)?.[1];
    if (fault !== undefined && method === 'PUT') this.fail(fault as BankFault);
    return send(response, fault === undefined ? 404 : 200, {});
  }

  private charge(reference: string, cents: number, response: ServerResponse): void {
    const fault = this.faults.shift();
    if (fault === 'lost') {
      response.destroy();
      return;
    }
    if (fault === 'held') {
      this.held.push(() => this.charge(reference, cents, response));
      return;
    }
    const before = this.charges.get(reference);
    const charge: Charge = before ?? { cents, status: 'charged' };
    this.charges.set(reference, charge);
    const answer = (): void => send(response, charge.status === 'void' ? 409 : before ? 200 : 201, charge);
    if (fault === 'late') setTimeout(answer, LATE_MS).unref();
    else answer();
  }

  private settled(reference: string): Charge {
    const charge = this.charges.get(reference) ?? { cents: 0, status: 'void' };
    this.charges.set(reference, charge);
    return charge;
  }
}

async function read(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > LONGEST_BODY) return {};
  }
  try {
    return JSON.parse(text || '{}') as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
