import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import type { AnswerCapture, SentHead } from './answer-capture.js';
import type { CapturedBody } from './captured-body.js';
import { listedHeaders } from './http-exchange.js';
import { isTeeable, tee } from './tee.js';

/** What is used of a reply of Fastify. */
export interface FastifyReply {
  readonly statusCode: number;
  readonly sent: boolean;
  send(payload?: unknown): unknown;
  serializer(serialize: (payload: unknown) => unknown): unknown;
  getHeader(name: string): unknown;
  header(name: string, value: unknown): unknown;
  code(status: number): unknown;
  hijack(): unknown;
}

/** What was given to `reply.send()`: a value, or a stream whose bytes are captured as they pass. */
export interface GivenPayload extends SentHead {
  readonly isStream: boolean;
  readonly value: unknown;
}

export interface ReplyCaptureInit {
  readonly reply: FastifyReply;
  readonly capture: AnswerCapture;
  readonly body: CapturedBody;
  readonly signal: () => AbortSignal;
}

/**
 * Listens to `reply.send()`. What plugins make of a payload, such as a compressed one, is made for one client; a
 * repetition is given to them anew.
 */
export class ReplyCapture {
  private readonly init: ReplyCaptureInit;
  private last: GivenPayload | undefined;
  private serialize: ((payload: unknown) => unknown) | undefined;

  constructor(init: ReplyCaptureInit) {
    this.init = init;
    const { reply } = init;
    const send = reply.send.bind(reply);
    const serializer = reply.serializer.bind(reply);
    reply.send = (payload?: unknown) => send(this.heard(payload));
    reply.serializer = (serialize) => {
      this.serialize = serialize;
      return serializer(serialize);
    };
  }

  /** What was given last; undefined where the answer is written to the raw response. */
  get given(): GivenPayload | undefined {
    return this.last;
  }

  private heard(payload: unknown): unknown {
    const { reply, capture, body, signal } = this.init;
    // Fastify asks its error handler about an error, and that one sends what the client gets.
    if (!capture.isOpen || reply.sent || payload instanceof Error) return payload;
    const content = isWebResponse(payload) ? this.opened(payload) : payload;
    const isStream = isObject(content) && ('pipe' in content || 'getReader' in content);
    const headers = listedHeaders((name) => reply.getHeader(name), capture.headerNames(reply.statusCode));
    this.last = { status: reply.statusCode, headers, isStream, value: isStream ? undefined : this.told(content) };
    if (!isStream || body.hasSource || !capture.mayHaveBody) return content;
    const stream = 'getReader' in content ? Readable.fromWeb(content as ReadableStream) : content;
    return isTeeable(stream) ? tee(stream, body, signal) : stream;
  }

  /** As Fastify does it later: its status and headers win. */
  private opened(response: Response): unknown {
    const { reply } = this.init;
    reply.code(response.status);
    for (const [name, value] of response.headers) reply.header(name, value);
    return response.body ?? undefined;
  }

  /** The value as a repetition has to give it, which has no serializer of its own. */
  private told(value: unknown): unknown {
    if (typeof value === 'string' || value === undefined || value === null) return value;
    if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return this.serialize ? this.serialize(value) : value;
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function isWebResponse(value: unknown): value is Response {
  return Object.prototype.toString.call(value) === '[object Response]';
}
