import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';

/** What the partner does with one request: a status, headers, or silence. */
export interface Reaction {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Never answers. */
  readonly hangs?: boolean;
  /** Answers when this resolves. */
  readonly after?: Promise<unknown>;
}

export interface Received {
  readonly id: string;
  readonly path: string;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
  /** Local monotonic milliseconds. */
  readonly at: number;
}

/** Holds back the answers that come after it. */
export class Gate {
  open: () => void = () => undefined;
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

/** A partner's HTTP server that does what it is told and notes what it gets. */
export class Partner {
  readonly received: Received[] = [];
  private readonly server: Server;
  private reactions: Reaction[] = [];
  private otherwise: Reaction = { status: 204 };

  private constructor() {
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { headers, url: path = '' } = request;
        const id = String(headers['webhook-id']);
        this.received.push({ id, path, body: Buffer.concat(chunks).toString(), headers, at: performance.now() });
        const {
          status = 200,
          headers: answer = {},
          body = '',
          hangs,
          after,
        } = this.reactions.shift() ?? this.otherwise;
        if (hangs) return;
        void Promise.resolve(after).then(() => response.writeHead(status, answer).end(body));
      });
    });
  }

  static async start(): Promise<Partner> {
    const partner = new Partner();
    await new Promise<void>((resolve) => partner.server.listen(0, '127.0.0.1', resolve));
    return partner;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/hook`;
  }

  /** To the next requests, in this order; then to all others. */
  react(reactions: readonly Reaction[], otherwise: Reaction = { status: 204 }): void {
    this.reactions = [...reactions];
    this.otherwise = otherwise;
  }

  ids(): string[] {
    return this.received.map(({ id }) => id);
  }

  /** With the official library; throws where it would not accept the request. */
  static verify({ body, headers }: Received, secret: string): unknown {
    return new Webhook(secret).verify(body, headers as Record<string, string>);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
