import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

const LONGEST_BODY = 20_480;

/** What the partner was told, by its id: copies have the same one. */
export interface Told {
  readonly type: string;
  readonly orderId: string;
}

/** A partner shop for the tour and the tests, which now and then is out. It listens to what is signed, and to nothing else. */
export class PartnerStandIn {
  readonly secret = `whsec_${randomBytes(24).toString('base64')}`;
  readonly told = new Map<string, Told>();
  private out = 0;

  private constructor(private readonly server: Server) {
    server.on('request', (request, response) => {
      void this.statusFor(request).then((status) => response.writeHead(status).end());
    });
  }

  static async open(): Promise<PartnerStandIn> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new PartnerStandIn(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/hooks`;
  }

  /** For so many calls. */
  goOut(calls: number): void {
    this.out = calls;
  }

  /** How often the partner was told of an order. */
  timesTold(orderId: unknown): number {
    return [...this.told.values()].filter((one) => one.orderId === orderId).length;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private async statusFor(request: IncomingMessage): Promise<number> {
    const body = await read(request);
    if (this.out > 0) {
      this.out -= 1;
      return 503;
    }
    const id = String(request.headers['webhook-id']);
    if (!this.isSigned(request, id, body)) return 401;
    const { type, data } = JSON.parse(body) as { type: string; data: { orderId: string } };
    this.told.set(id, { type, orderId: data.orderId });
    return 204;
  }

  private isSigned({ headers }: IncomingMessage, id: string, body: string): boolean {
    const key = Buffer.from(this.secret.slice('whsec_'.length), 'base64');
    const signed = `${id}.${String(headers['webhook-timestamp'])}.${body}`;
    const expected = Buffer.from(`v1,${createHmac('sha256', key).update(signed).digest('base64')}`);
    const given = Buffer.from(String(headers['webhook-signature']));
    return given.length === expected.length && timingSafeEqual(given, expected);
  }
}

async function read(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > LONGEST_BODY) return '';
  }
  return text;
}
