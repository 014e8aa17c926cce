import { type IncomingMessage, request } from 'node:http';

export interface BrowserAnswer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly setCookies: readonly string[];
  readonly replayed: boolean;
}

interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly domain: string;
  /** Sent to the host that set it alone. */
  readonly isOfHost: boolean;
}

const TIMEOUT_MS = 20_000;

/**
 * A browser as far as the mall can tell: it keeps cookies by their domain, and says which page a form is of. Names are
 * looked up nowhere; which instance serves a host is said with each request, as a router in front would decide it.
 */
export class Browser {
  private cookies: Cookie[] = [];

  constructor(private readonly userAgent = 'Browser') {}

  /** Another one with the same cookies, which keeps them whatever this one is told. */
  copy(): Browser {
    const copy = new Browser(this.userAgent);
    copy.cookies = [...this.cookies];
    return copy;
  }

  /** The cookies that a host would be sent. */
  cookiesFor(host: string): string {
    const sent = this.cookies.filter(({ domain, isOfHost }) =>
      isOfHost ? host === domain : `.${host}`.endsWith(`.${domain}`),
    );
    return sent.map(({ name, value }) => `${name}=${value}`).join('; ');
  }

  /**
   * @param at the address of an instance
   * @param host whom the request is for: `www.mall.localhost`
   * @param page which page it is sent from, if from another one
   * @returns undefined where the connection broke
   */
  async send(
    at: string,
    host: string,
    call: { readonly method: string; readonly path: string; readonly body?: unknown; readonly page?: string },
  ): Promise<BrowserAnswer | undefined> {
    const { method, path, body, page = host } = call;
    const cookie = this.cookiesFor(host);
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      host,
      'user-agent': this.userAgent,
      ...(method === 'GET' ? {} : { origin: `http://${page}` }),
      ...(cookie === '' ? {} : { cookie }),
      ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    };
    try {
      // fetch() would not let the host be chosen.
      const answer = await exchanged(new URL(path, at), { method, headers, agent: false }, text);
      this.keep(host, answer.setCookies);
      return answer;
    } catch (error) {
      if (typeof (error as { code?: unknown }).code === 'string') return undefined;
      throw error;
    }
  }

  private keep(host: string, lines: readonly string[]): void {
    for (const line of lines) {
      const [pair = '', ...attributes] = line.split(';').map((part) => part.trim());
      const [name, value] = splitOnce(pair);
      const given = new Map(attributes.map((attribute) => splitOnce(attribute.toLowerCase())));
      const domain = given.get('domain') || host;
      // As browsers do, for a host could set the cookie of another one else.
      if (!`.${host}`.endsWith(`.${domain}`)) continue;
      const isOfHost = !given.has('domain');
      this.cookies = this.cookies.filter(
        (one) => !(one.name === name && one.domain === domain && one.isOfHost === isOfHost),
      );
      if (given.get('max-age') !== '0') this.cookies.push({ name, value, domain, isOfHost });
    }
  }
}

function splitOnce(text: string): [string, string] {
  const at = text.indexOf('=');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function exchanged(
  url: URL,
  options: { method: string; headers: Record<string, string | number>; agent: false },
  text: string | undefined,
): Promise<BrowserAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) }, (response) => {
      read(response).then(resolve, reject);
    });
    sent.on('error', reject);
    sent.end(text);
  });
}

async function read(response: IncomingMessage): Promise<BrowserAnswer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return {
    status: response.statusCode ?? 0,
    body: JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>,
    setCookies: response.headers['set-cookie'] ?? [],
    replayed: response.headers['idempotent-replayed'] === 'true',
  };
}
