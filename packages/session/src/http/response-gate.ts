import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { httpStatusOf, type Incidents, isLockstepError, problemDetailsOf, retryAfterSeconds } from '@lockstep/core';
import { gateResponse, type Inner, type Method } from './gated-response.js';
import { isUncached, listed, withHeadOf } from './head-arguments.js';
import type { HeadChanges } from './session-transport.js';

/** What the gate asks of the session whose answer it watches. */
export interface GatedSession {
  /** Whether something is set that is not saved yet. May throw, and then the answer is an error. */
  hasChanges(): boolean;
  commit(): Promise<void>;
  /** Asked once, when the head is about to leave. */
  headChanges(): HeadChanges;
}

type Step = () => void;

/**
 * So much may wait before its source is asked to stop. More than the buffer of a compressing stream: middleware has the
 * source listen to that stream, which says when it goes on only if it was full itself.
 */
const MOST_HELD_BYTES = 131_072;

/** Headers that belong to whoever is asked, not to the answer that was not given. */
const KEPT_ON_REFUSAL = /^(?:access-control-|vary$|strict-transport-security$|x-(?:frame|content-type)-options$)/;

/**
 * Sees to it that what a session has to say leaves with the head of an answer, and that its changes are saved before
 * the answer leaves at all.
 *
 * ```
 * open --head or end, nothing to save--> passed (cookie decided; the call goes on)
 * open --head or end, changes--> holding (what is written meanwhile waits) --saved--> passed, and what waited goes on
 *                                                                         --failed--> refused: an error is the answer
 * passed --end, changes made since--> holding --saved--> ended
 *                                             --failed--> the connection is cut: a whole answer would be a lie
 * any --connection closed--> changes are saved all the same, those that come later too
 * ```
 * Node, and what others have put around these methods, calls one from within another; such a call is part of the outer
 * one and is let through.
 */
export class ResponseGate {
  private readonly waiting: Step[] = [];
  /** What is piped into the answer; if nobody takes it, it must not stay open. */
  private readonly sources = new Set<Readable>();
  private isHolding = false;
  private isHeadDecided = false;
  /** Whether it carries a token, which no cache may keep. */
  private isPersonal = false;
  private isEndHeld = false;
  private heldBytes = 0;
  /** What is written from here on is nobody's answer. */
  private isRefused = false;
  private isInside = false;
  private isOver: boolean;
  /** What the answer would do without a gate, with what others had put around it by then. */
  private readonly inner: Inner;

  constructor(
    private readonly response: ServerResponse,
    private readonly session: GatedSession,
    private readonly incidents: Incidents,
  ) {
    this.inner = gateResponse(response, this);
    this.isOver = response.closed === true || response.destroyed === true;
    this.watch();
  }

  /** Something may have been changed: where the answer is over already, nothing else would save it. */
  noteChange(): void {
    if (this.isOver) setImmediate(() => this.saveRest());
  }

  get hidesHead(): boolean {
    return this.isHolding;
  }

  get hidesEnd(): boolean {
    return this.isEndHeld;
  }

  writeHead(args: unknown[]): ServerResponse {
    const { response, inner } = this;
    const write = (): unknown => inner.writeHead(this.isPersonal ? withHeadOf(response, args) : args);
    this.pass('writeHead', write);
    return response;
  }

  write(args: unknown[]): boolean {
    const wasTaken = this.pass('write', () => this.inner.write(args));
    return wasTaken ?? this.hasRoomFor(args[0]);
  }

  end(args: unknown[]): ServerResponse {
    this.pass('end', () => this.inner.end(args));
    return this.response;
  }

  flushHeaders(): void {
    this.pass('flushHeaders', () => this.inner.flushHeaders());
  }

  private watch(): void {
    const { response } = this;
    response.on('pipe', (source: Readable) => this.sources.add(source));
    response.on('unpipe', (source: Readable) => this.sources.delete(source));
    response.once('close', () => {
      this.isOver = true;
      this.saveRest();
    });
  }

  /** @returns undefined where the call waits */
  private pass<T>(method: Method, call: () => T): T | undefined {
    if (this.isInside) return call();
    if (this.isRefused) return undefined;
    if (this.isHolding) {
      this.hold(method, call);
      return undefined;
    }
    if (this.mustWait(method)) {
      this.hold(method, call);
      void this.save();
      return undefined;
    }
    return this.within(() => {
      if (!this.isHeadDecided) this.decideHead();
      return call();
    });
  }

  private within<T>(call: () => T): T {
    const { isInside } = this;
    this.isInside = true;
    try {
      return call();
    } finally {
      this.isInside = isInside;
    }
  }

  private mustWait(method: Method): boolean {
    // What is set once the head has left is saved before the end.
    if (this.response.headersSent && method !== 'end') return false;
    try {
      return this.session.hasChanges();
    } catch {
      // commit() throws the same, and there it is answered.
      return true;
    }
  }

  private hold(method: Method, call: Step): void {
    // Whatever waits brings a head with it; who asks for one because he sees that none has left must not send a second.
    if (this.isEndHeld || (this.isHolding && method === 'writeHead')) return;
    this.waiting.push(call);
    this.isHolding = true;
    if (method === 'end') this.isEndHeld = true;
  }

  private hasRoomFor(chunk: unknown): boolean {
    this.heldBytes +=
      typeof chunk === 'string' ? Buffer.byteLength(chunk) : ((chunk as Buffer | undefined)?.length ?? 0);
    return this.heldBytes <= MOST_HELD_BYTES;
  }

  private async save(): Promise<void> {
    try {
      await this.session.commit();
    } catch (error) {
      this.refuse(error, 'SESSION_NOT_SAVED');
      return;
    }
    try {
      this.release();
    } catch (error) {
      this.refuse(error, 'ANSWER_REFUSED_BY_NODE');
      return;
    }
    // The client left meanwhile, and what was set meanwhile has nobody else to save it.
    if (this.isOver) this.saveRest();
  }

  /** @throws what a call throws that had to wait, such as one with a status that is none */
  private release(): void {
    this.isHolding = false;
    this.isEndHeld = false;
    this.within(() => {
      if (!this.isHeadDecided) this.decideHead();
      for (const call of this.waiting.splice(0)) call();
    });
    const wasFull = this.heldBytes > MOST_HELD_BYTES;
    this.heldBytes = 0;
    if (wasFull && !this.response.writableEnded) this.response.emit('drain');
  }

  private decideHead(): void {
    this.isHeadDecided = true;
    const { response } = this;
    if (response.headersSent) return;
    const { cookies, headers } = this.session.headChanges();
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    this.isPersonal = cookies.length > 0 || Object.keys(headers).length > 0;
    if (!this.isPersonal) return;
    if (cookies.length > 0) {
      response.setHeader('Set-Cookie', [...listed(response.getHeader('Set-Cookie')), ...cookies]);
    }
    if (!isUncached(response.getHeader('Cache-Control'))) response.setHeader('Cache-Control', 'no-store');
  }

  private refuse(error: unknown, code: string): void {
    this.isHolding = false;
    this.isEndHeld = false;
    this.isRefused = true;
    this.waiting.length = 0;
    const { response } = this;
    const isUnbegun = !response.headersSent && !response.destroyed;
    this.incidents.report({
      code,
      source: 'session.answer',
      message: isUnbegun ? 'The answer became an error' : 'The answer had begun; it was cut',
      cause: error,
    });
    const sources = [...this.sources];
    // By then the answer is sent, and whoever ends it along with its source has nothing to break.
    response.once('close', () => {
      for (const source of sources) source.destroy();
    });
    if (!isUnbegun || !this.isAnswered(error)) response.destroy();
  }

  private isAnswered(error: unknown): boolean {
    try {
      this.within(() => this.answer(error));
      return true;
    } catch (cause) {
      this.incidents.report({
        code: 'ERROR_NOT_ANSWERED',
        source: 'session.answer',
        message: 'The answer was cut instead',
        cause,
      });
      return false;
    }
  }

  private answer(error: unknown): void {
    const { response } = this;
    for (const name of response.getHeaderNames()) if (!KEPT_ON_REFUSAL.test(name)) response.removeHeader(name);
    const known = isLockstepError(error) ? error : undefined;
    const status = known ? httpStatusOf(known) : 500;
    const document = known ? problemDetailsOf(known) : { type: 'about:blank', title: 'Internal Server Error', status };
    const retryAfter = known && retryAfterSeconds(known);
    const body = Buffer.from(JSON.stringify(document));
    // HTTP/2 has none, and warns of it.
    if (response.req.httpVersionMajor < 2) response.statusMessage = '';
    response.statusCode = status;
    response.setHeader('Content-Type', 'application/problem+json');
    response.setHeader('Content-Length', body.byteLength);
    response.setHeader('Cache-Control', 'no-store');
    if (retryAfter !== undefined) response.setHeader('Retry-After', String(retryAfter));
    // An id that was replaced is worth nothing any more, whatever became of the rest.
    this.decideHead();
    this.inner.writeHead([status]);
    this.inner.end([body]);
  }

  /** An answer that was broken off may never come to its end. */
  private saveRest(): void {
    if (this.isHolding || this.isRefused) return;
    let hasChanges = true;
    try {
      hasChanges = this.session.hasChanges();
    } catch {
      // commit() throws the same, and there it is reported.
    }
    if (!hasChanges) return;
    this.session.commit().catch((cause: unknown) => {
      this.incidents.report({
        code: 'SESSION_NOT_SAVED',
        source: 'session.answer',
        message: 'The client had left',
        cause,
      });
    });
  }
}
