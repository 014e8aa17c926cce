import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import type { Answer } from './verdict.js';

export interface WebhookRequest {
  /** Checked: see `checkedTarget`. */
  readonly target: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Name resolution, connection, answer with all its rest: all of it together. */
  readonly timeoutMs: number;
  readonly lookup: LookupFunction;
  readonly signal: AbortSignal;
}

/** Node gives up an answer with more itself. */
const MAX_HEADER_BYTES = 16_384;
const MAX_ANSWER_BYTES = 16_384;
/** How long a receiver may take for what nobody reads, within the time of the attempt. */
const REST_MS = 1_000;

/**
 * One POST. Resolves with the answer whatever its status is: redirects are not followed. Of the answer's body a bounded
 * part is read and dropped.
 *
 * What breaks off after the head of the answer changes nothing about it.
 *
 * @throws Error when no answer came: no address or a forbidden one, no connection, an answer that is no HTTP, too late
 */
export function sendWebhook({ target, headers, body, timeoutMs, lookup, signal }: WebhookRequest): Promise<Answer> {
  const payload = Buffer.from(body);
  const request = target.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const sent = request(target, {
      method: 'POST',
      // A connection for each attempt: one that is kept would go on to an address that is not allowed any more.
      agent: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      lookup,
      signal,
      headers: { ...headers, 'Content-Length': payload.length },
    });
    let answer: Answer | undefined;
    const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    sent.once('close', () => clearTimeout(timer));
    sent.on('error', (error) => (answer ? resolve(answer) : reject(error)));
    sent.once('response', (response) => {
      const given: Answer = { status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'] };
      answer = given;
      dropBody(sent, response, () => resolve(given));
    });
    // 101, which no one asked for: Node would otherwise just close.
    sent.once('upgrade', (_response, socket) => {
      socket.destroy();
      reject(new Error('the receiver switched protocols'));
    });
    sent.end(payload);
  });
}

/** The status is the answer; what becomes of the rest changes nothing about it. */
function dropBody(sent: ClientRequest, response: IncomingMessage, done: () => void): void {
  let bytes = 0;
  const timer = setTimeout(() => sent.destroy(), REST_MS);
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) sent.destroy();
  });
  // After the status it is only the connection that fails; 'close' follows.
  response.on('error', () => sent.destroy());
  response.once('close', () => {
    clearTimeout(timer);
    // Who answers before all was sent may never read the rest.
    sent.destroy();
    done();
  });
}
