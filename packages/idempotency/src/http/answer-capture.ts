import type { ServerResponse } from 'node:http';
import type { CapturedBody } from './captured-body.js';
import { listedHeaders } from './http-exchange.js';
import type { StoredHeaders } from './stored-answer.js';

/** What was sent before the body. */
export interface SentHead {
  readonly status: number;
  readonly headers: StoredHeaders;
}

export interface AnswerCaptureInit {
  readonly raw: ServerResponse;
  readonly body: CapturedBody;
  /** Headers to note, in lower case. */
  readonly headerNames: readonly string[];
  /**
   * Whether the handler answers by itself, perhaps long after its promise has ended: then only an answer that has begun
   * can be broken off.
   */
  readonly isHandlersOwn: boolean;
  /** Called once, when the answer is whole or can never be. Its last byte leaves when this resolves. Must not reject. */
  readonly onOver: (how: 'whole' | 'broken') => Promise<void>;
  /** Called when what was held could not be sent; the connection is cut then. */
  readonly onUnsendable: (cause: unknown) => void;
}

type Arguments = readonly unknown[];

/**
 * Listens to what is written to a response, whoever writes it, and holds its last byte back until the store has it: a
 * client that was answered never finds its key open.
 *
 * ```
 * open --end() | the last byte that Content-Length announced--> held --onOver has resolved--> passed
 * open --connection closed, handler over--> passed (broken)
 * open --leave()--> passed: whoever writes now is not listened to
 * ```
 * What is written while the answer is held comes after it, in its order, as it would without us.
 */
export class AnswerCapture {
  private readonly init: AnswerCaptureInit;
  private readonly raw: ServerResponse;
  private readonly original: Pick<ServerResponse, 'write' | 'end' | 'writeHead' | 'flushHeaders'>;
  private readonly later: (() => void)[] = [];
  private state: 'open' | 'held' | 'passed' = 'open';
  private isHandlerOver = false;
  private sent: SentHead | undefined;
  private declaredBytes: number | undefined;
  private writtenBytes = 0;

  constructor(init: AnswerCaptureInit) {
    this.init = init;
    const { raw } = init;
    this.raw = raw;
    this.original = {
      write: raw.write.bind(raw),
      end: raw.end.bind(raw),
      writeHead: raw.writeHead.bind(raw),
      flushHeaders: raw.flushHeaders.bind(raw),
    };
    this.raw.write = ((...args: Arguments) => this.write(args)) as ServerResponse['write'];
    this.raw.end = ((...args: Arguments) => this.end(args)) as ServerResponse['end'];
    this.raw.writeHead = ((...args: Arguments) => this.writeHead(args)) as ServerResponse['writeHead'];
    this.raw.flushHeaders = () => this.flushHeaders();
    this.raw.once('close', () => this.onClose());
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }

  /** Undefined before anything was written. */
  get head(): SentHead | undefined {
    return this.sent;
  }

  /** A part is of no use without its place, and of a body that is never sent the length is all that is told. */
  headerNames(status: number): readonly string[] {
    const { headerNames } = this.init;
    if (this.isHead) return [...headerNames, 'content-length'];
    return status === 206 ? [...headerNames, 'content-range'] : headerNames;
  }

  /** The handler's promise has ended. */
  handlerOver(): void {
    this.isHandlerOver = true;
    if (this.raw.destroyed) this.onClose();
  }

  /** Stops listening, and says how far the answer has come. */
  leave(): 'untouched' | 'begun' | 'whole' {
    if (this.state !== 'open') return 'whole';
    this.state = 'passed';
    return this.sent === undefined ? 'untouched' : 'begun';
  }

  private write(args: Arguments): boolean {
    if (this.state === 'held') return this.afterwards(() => this.call('write', args));
    if (this.state === 'passed') return this.call('write', args) as boolean;
    const [chunk, encoding] = args;
    if (!isSendable(chunk)) return this.call('write', args) as boolean;
    this.noteHead();
    this.note(chunk, encoding);
    if (this.declaredBytes === undefined || this.writtenBytes < this.declaredBytes) {
      return (this.call('write', args) as boolean) || this.isTakenFromNobody();
    }
    this.hold(() => this.call('write', args));
    return true;
  }

  /**
   * Of a client that has left nothing drains: whoever pipes would wait for ever, so it is let go on to the end, as long as
   * there is something to learn from it.
   */
  private isTakenFromNobody(): boolean {
    if (!this.raw.destroyed) return false;
    if (!this.init.body.lost) return true;
    this.onClose();
    return false;
  }

  private end(args: Arguments): ServerResponse {
    const [first, encoding] = args;
    const chunk = typeof first === 'function' ? undefined : (first ?? undefined);
    // What Node refuses is refused at once, to whoever gave it.
    const isRefused = chunk !== undefined && !isSendable(chunk);
    if (this.state === 'passed' || isRefused) return this.call('end', args) as ServerResponse;
    if (this.state === 'open') {
      this.noteHead();
      if (chunk !== undefined) this.note(chunk, encoding);
      if (!this.raw.headersSent) this.renderHead(chunk, encoding);
      this.hold(() => this.call('end', args));
    } else {
      this.afterwards(() => this.call('end', args));
    }
    // Whoever asks is told what it would be told if nothing was held: the answer is over.
    Object.defineProperty(this.raw, 'writableEnded', { configurable: true, get: () => true });
    return this.raw;
  }

  private writeHead(args: Arguments): ServerResponse {
    if (this.state !== 'open' || typeof args[0] !== 'number') return this.call('writeHead', args) as ServerResponse;
    const given = givenHeaders(args.at(-1));
    this.raw.statusCode = args[0];
    this.noteHead(given);
    this.call('writeHead', args);
    // What Node made of a list with one name twice depends on its version, and can be read where headers are kept.
    for (const name of given.keys()) this.renote(name, this.raw.getHeader(name));
    return this.raw;
  }

  private renote(name: string, value: unknown): void {
    if (!this.sent || value === undefined || !Object.hasOwn(this.sent.headers, name)) return;
    const { status, headers } = this.sent;
    this.sent = { status, headers: { ...headers, ...listedHeaders(() => value, [name]) } };
  }

  /** Headers that are the whole answer leave with its end. */
  private flushHeaders(): void {
    if (this.state === 'open') {
      this.noteHead();
      if (!this.mayHaveBody || this.declaredBytes === 0) return;
    }
    this.call('flushHeaders', []);
  }

  /** Before a middleware that compresses has its say: what it adds belongs to this one client. */
  private noteHead(given: ReadonlyMap<string, unknown> = new Map()): void {
    if (this.sent) return;
    const get = (name: string): unknown => given.get(name) ?? this.raw.getHeader(name);
    const length = get('content-length');
    const { statusCode: status } = this.raw;
    this.declaredBytes = this.mayHaveBody && length !== undefined ? Number(length) : undefined;
    this.sent = { status, headers: listedHeaders(get, this.headerNames(status)) };
  }

  private note(chunk: unknown, encoding: unknown): void {
    this.writtenBytes += bytesOf(chunk, encoding);
    if (this.mayHaveBody && !this.init.body.hasSource) this.init.body.add(chunk, encodingOf(encoding));
  }

  /** Makes the header what it is, as Node would have done: nobody can change it while the answer is held. */
  private renderHead(chunk: unknown, encoding: unknown): void {
    const { raw } = this;
    const hasFraming = ['content-length', 'transfer-encoding', 'trailer'].some((name) => raw.hasHeader(name));
    if (this.mayHaveBody && !hasFraming) raw.setHeader('Content-Length', bytesOf(chunk, encoding));
    this.call('writeHead', [raw.statusCode]);
  }

  private hold(last: () => void): void {
    this.state = 'held';
    this.later.push(last);
    void this.release();
  }

  private async release(): Promise<void> {
    await this.init.onOver('whole');
    this.state = 'passed';
    Reflect.deleteProperty(this.raw, 'writableEnded');
    try {
      for (const call of this.later.splice(0)) call();
    } catch (error) {
      this.init.onUnsendable(error);
      this.raw.destroy();
    }
  }

  private afterwards(call: () => void): true {
    this.later.push(call);
    return true;
  }

  private onClose(): void {
    if (this.state !== 'open' || !this.isHandlerOver) return;
    if (this.init.isHandlersOwn && this.sent === undefined) return;
    this.state = 'passed';
    void this.init.onOver('broken');
  }

  private call(method: keyof AnswerCapture['original'], args: Arguments): unknown {
    return Reflect.apply(this.original[method], this.raw, args);
  }

  private get isHead(): boolean {
    return this.raw.req?.method === 'HEAD';
  }

  get mayHaveBody(): boolean {
    const { statusCode } = this.raw;
    return !this.isHead && statusCode !== 204 && statusCode !== 304;
  }
}

function isSendable(chunk: unknown): chunk is string | Uint8Array {
  return typeof chunk === 'string' || chunk instanceof Uint8Array;
}

function encodingOf(encoding: unknown): BufferEncoding | undefined {
  return typeof encoding === 'string' ? (encoding as BufferEncoding) : undefined;
}

function bytesOf(chunk: unknown, encoding: unknown): number {
  if (typeof chunk === 'string') return Buffer.byteLength(chunk, encodingOf(encoding));
  return chunk instanceof Uint8Array ? chunk.byteLength : 0;
}

/** The headers of a `writeHead`, by lower-case name: an object, or a flat list of names and values. */
function givenHeaders(given: unknown): ReadonlyMap<string, unknown> {
  const headers = new Map<string, unknown>();
  if (typeof given !== 'object' || given === null) return headers;
  if (!Array.isArray(given)) {
    for (const [name, value] of Object.entries(given)) headers.set(name.toLowerCase(), value);
    return headers;
  }
  const flat: readonly unknown[] = given.flat();
  for (let index = 0; index + 1 < flat.length; index += 2) {
    const name = String(flat[index]).toLowerCase();
    const before = headers.get(name);
    headers.set(name, before === undefined ? flat[index + 1] : [before, flat[index + 1]].flat());
  }
  return headers;
}
