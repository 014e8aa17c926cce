import type { SessionSize } from './attributes.js';

/** Unchanged read; read and write; no session; one of many attributes changes. */
export type Traffic = 'read' | 'write' | 'anonymous' | 'write-64k';

interface Route {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly status: number;
  /** The sessions that ask; undefined: none does. */
  readonly size: SessionSize | undefined;
}

export const routes: Readonly<Record<Traffic, Route>> = {
  read: { method: 'GET', path: '/name', status: 200, size: 'small' },
  write: { method: 'POST', path: '/visits', status: 201, size: 'small' },
  anonymous: { method: 'GET', path: '/visitor', status: 200, size: undefined },
  'write-64k': { method: 'POST', path: '/draft', status: 201, size: 'large' },
};

// As from something that ends TLS in front: a contestant may refuse to trust its cookie to plain HTTP in production.
const FORWARDED = { 'X-Forwarded-Proto': 'https' };
/** As long as the cookies of the others: a server without sessions parses as much. */
const NO_SESSION = `sid=${'0'.repeat(88)}`;

/** One browser: its requests in the traffic of a row, prepared once. */
export class HttpClient {
  /** As it is sent. */
  readonly request: string;
  private readonly route: Route;

  private constructor(
    private readonly port: number,
    traffic: Traffic,
    private readonly cookie: string | undefined,
  ) {
    this.route = routes[traffic];
    const { method, path, size } = this.route;
    const headers: Record<string, string> = { Host: '127.0.0.1', ...FORWARDED };
    if (method === 'POST') headers['Content-Length'] = '0';
    if (size !== undefined) headers.Cookie = cookie ?? NO_SESSION;
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    this.request = `${[`${method} ${path} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`;
  }

  /** Logs in where the traffic is that of users. */
  static async open(port: number, traffic: Traffic): Promise<HttpClient> {
    const { size } = routes[traffic];
    return new HttpClient(port, traffic, size && (await logIn(port, size)));
  }

  /**
   * @param written how many writes were answered before
   * @throws Error when this many writes and one more are not what the session now holds
   */
  async expectKept(written: number): Promise<void> {
    const { method, path } = this.route;
    if (method !== 'POST' || this.cookie === undefined) return;
    const answer = await ask(this.port, path, { method, headers: { Cookie: this.cookie } });
    const { count } = (await answer.json()) as { count?: unknown };
    if (count !== written + 1) throw new Error(`keeps ${count} of ${written + 1} writes`);
  }
}

/** @returns the cookies; undefined where the server has no sessions */
async function logIn(port: number, size: SessionSize): Promise<string | undefined> {
  const answer = await ask(port, `/login/${size}`, { method: 'POST' });
  await answer.body?.cancel();
  const cookies = answer.headers.getSetCookie().map((cookie) => cookie.split(';', 1)[0]);
  return cookies.length === 0 ? undefined : cookies.join('; ');
}

async function ask(port: number, path: string, init: { method: string; headers?: Record<string, string> }) {
  const headers = { ...FORWARDED, ...init.headers };
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { ...init, headers });
  if (answer.status !== 201) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
  return answer;
}
