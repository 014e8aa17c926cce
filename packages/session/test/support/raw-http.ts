import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly setCookies: readonly string[];
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the handler answered
  readonly json: any;
}

export interface RawRequest {
  readonly method?: 'GET' | 'POST';
  /** As they are, `Host` and `Cookie` among them, which fetch would not send. */
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
}

/** A request of which every header is the test's own. */
export function raw(
  url: string,
  path: string,
  { method = 'GET', headers = {}, body }: RawRequest = {},
): Promise<RawAnswer> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const ofBody =
    text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      `${url}${path}`,
      { method, agent: false, headers: { ...ofBody, ...headers } },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const answer = Buffer.concat(chunks).toString();
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            setCookies: response.headers['set-cookie'] ?? [],
            text: answer,
            json: answer.startsWith('{') || answer.startsWith('[') ? JSON.parse(answer) : undefined,
          });
        });
      },
    );
    request.on('error', reject);
    request.end(text);
  });
}

/** `name=value` of the first Set-Cookie line, as a browser sends it back. */
export function pairOf(answer: RawAnswer): string {
  return answer.setCookies[0]?.split(';')[0] ?? '';
}

export function tokenOf(pair: string): string {
  return pair.slice(pair.indexOf('=') + 1);
}
