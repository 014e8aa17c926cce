import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { httpStatusOf, type Incidents, isLockstepError, problemDetailsOf, retryAfterSeconds } from '@lockstep/core';
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
type Method = 'writeHead' | 'write' | 'end' | 'flushHeaders';

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
 * any --connection closed--> changes are saved all the same
 * ```
 */
export class ResponseGate {
  private readonly waiting: Step[] = [];
  private isHolding = false;
  private isHeadDecided = false;
  private isEndHeld = false;
  private hasHeldWrite = false;
  /** What is written from here on is nobody's answer. */
  private isRefused = false;
  private isDirect = false;

  constructor(
    private readonly response: ServerResponse,
    private readonly session: GatedSession,
    private readonly incidents: Incidents,
  ) {
    this.watch();
  }

  private watch(): void {
    const { response } = this;
    const writeHead = response.writeHead.bind(response) as (...args: unknown[]) => ServerResponse;
    const write = response.write.bind(response) as (...args: unknown[]) => boolean;
    const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse;
    const flushHeaders = response.flushHeaders.bind(response);
    const watched: Record<Method, (...args: unknown[]) => unknown> = {
      writeHead: (...args) => this.pass('writeHead', () => writeHead(...this.headArguments(args)), response),
      write: (...args) => this.pass('write', () => write(...args), false),
      end: (...args) => this.pass('end', () => end(...args), response),
      flushHeaders: () => this.pass('flushHeaders', flushHeaders, undefined),
    };
    Object.assign(response, watched);
    // Frameworks ask these before they answer once more.
    override(response, 'headersSent', (isSo) => isSo || this.isHolding);
    override(response, 'writableEnded', (isSo) => isSo || this.isEndHeld);
    response.once('close', () => this.onClose());
  }

  private pass<T>(method: Method, call: () => T, held: T): T {
    if (this.isDirect) return call();
    if (this.isRefused) return held;
    if (this.isHolding) {
      this.hold(method, call);
      return held;
    }
    if (this.mustWait(method)) {
      this.hold(method, call);
      void this.save();
      return held;
    }
    if (!this.isHeadDecided) this.decideHead();
    return call();
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
    this.waiting.push(call);
    this.isHolding = true;
    if (method === 'end') this.isEndHeld = true;
    if (method === 'write') this.hasHeldWrite = true;
  }

  private async save(): Promise<void> {
    try {
      await this.session.commit();
    } catch (error) {
      this.refuse(error);
      return;
    }
    this.release();
  }

  private release(): void {
    this.isHolding = false;
    this.isEndHeld = false;
    if (!this.isHeadDecided) this.decideHead();
    for (const call of this.waiting.splice(0)) call();
    if (this.hasHeldWrite && !this.response.writableEnded) this.response.emit('drain');
    this.hasHeldWrite = false;
  }

  private decideHead(): void {
    this.isHeadDecided = true;
    const { response } = this;
    if (response.headersSent) return;
    const { cookies, headers } = this.session.headChanges();
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (cookies.length === 0) return;
    response.setHeader('Set-Cookie', [...listed(response.getHeader('Set-Cookie')), ...cookies]);
    if (!isUncached(response.getHeader('Cache-Control'))) response.setHeader('Cache-Control', 'no-store');
  }

  /** Headers given to `writeHead` replace those that were set, and Fastify gives all of them. */
  private headArguments(args: readonly unknown[]): unknown[] {
    const { response } = this;
    const at = args.length - 1;
    const given = args[at];
    if (typeof given !== 'object' || given === null || response.headersSent) return [...args];
    const cookies = listed(response.getHeader('Set-Cookie'));
    if (cookies.length === 0) return [...args];
    const headers = entriesOf(given as OutgoingHttpHeaders | readonly unknown[]);
    const own = headers.filter(([name]) => name.toLowerCase() === 'set-cookie').flatMap(([, value]) => listed(value));
    const rest = headers.filter(([name, value]) => {
      const lower = name.toLowerCase();
      return lower !== 'set-cookie' && !(lower === 'cache-control' && !isUncached(value));
    });
    return [...args.slice(0, at), Object.fromEntries([...rest, ['Set-Cookie', [...new Set([...own, ...cookies])]]])];
  }

  private refuse(error: unknown): void {
    this.isHolding = false;
    this.isEndHeld = false;
    this.isRefused = true;
    this.waiting.length = 0;
    const { response } = this;
    const isUnbegun = !response.headersSent && !response.destroyed;
    this.incidents.report({
      code: 'SESSION_NOT_SAVED',
      source: 'session.answer',
      message: isUnbegun ? 'The answer became an error' : 'The answer had begun; it was cut',
      cause: error,
    });
    if (isUnbegun) this.answer(error);
    else response.destroy();
  }

  private answer(error: unknown): void {
    const { response } = this;
    for (const name of response.getHeaderNames()) if (!KEPT_ON_REFUSAL.test(name)) response.removeHeader(name);
    const known = isLockstepError(error) ? error : undefined;
    const status = known ? httpStatusOf(known) : 500;
    const document = known ? problemDetailsOf(known) : { type: 'about:blank', title: 'Internal Server Error', status };
    const retryAfter = known && retryAfterSeconds(known);
    response.statusCode = status;
    response.statusMessage = '';
    response.setHeader('Content-Type', 'application/problem+json');
    response.setHeader('Cache-Control', 'no-store');
    if (retryAfter !== undefined) response.setHeader('Retry-After', String(retryAfter));
    this.isHeadDecided = true;
    this.isDirect = true;
    response.end(JSON.stringify(document));
    this.isDirect = false;
  }

  /** An answer that was broken off may never come to its end. */
  private onClose(): void {
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

function override(
  response: ServerResponse,
  property: 'headersSent' | 'writableEnded',
  get: (isSo: boolean) => boolean,
): void {
  Object.defineProperty(response, property, {
    configurable: true,
    get: () => get(Reflect.get(Object.getPrototypeOf(response) as object, property, response) as boolean),
  });
}

function listed(value: unknown): string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value.map(String) : [String(value)];
}

function isUncached(value: unknown): boolean {
  return /\b(?:no-store|private)\b/i.test(String(value ?? ''));
}

/** `writeHead` takes an object, a list of pairs, or names and values in turn. */
function entriesOf(headers: OutgoingHttpHeaders | readonly unknown[]): [string, unknown][] {
  if (!Array.isArray(headers)) return Object.entries(headers);
  if (Array.isArray(headers[0])) return headers as [string, unknown][];
  const entries: [string, unknown][] = [];
  for (let index = 0; index + 1 < headers.length; index += 2)
    entries.push([String(headers[index]), headers[index + 1]]);
  return entries;
}
