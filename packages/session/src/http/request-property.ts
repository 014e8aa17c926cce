import type { IncomingMessage } from 'node:http';
import { ConfigurationError } from '@lockstep/core';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { SessionMisuseError } from '../session.errors.js';
import { type SessionObject, sessionObjectOf } from './session-object.js';
import { sessionOf } from './session-slot.js';

interface FastifyLike {
  decorateRequest(name: string, accessor: { getter(): unknown; setter(value: unknown): void }): unknown;
  hasRequestDecorator(name: string): boolean;
}

interface FastifyRequestLike {
  readonly raw: IncomingMessage;
}

interface ExpressLike {
  readonly request: object;
}

/** On Node's own request. */
const PROPERTY: PropertyDescriptor & ThisType<IncomingMessage> = {
  configurable: true,
  get() {
    return objectOf(this);
  },
  set: refuse,
};

/**
 * Makes `req.session` the session, on the requests that handlers of this adapter are given; once for all requests, so
 * that one that does not look at it pays nothing.
 *
 * @throws ConfigurationError where another library has taken the name
 */
export function installSessionProperty(adapter: AbstractHttpAdapter): void {
  const instance: unknown = adapter.getInstance();
  if (isFastify(instance)) {
    if (instance.hasRequestDecorator('session')) throw taken();
    instance.decorateRequest('session', {
      getter(this: FastifyRequestLike) {
        return objectOf(this.raw);
      },
      setter: refuse,
    });
    return;
  }
  const { request } = (instance ?? {}) as Partial<ExpressLike>;
  // Another adapter: its handlers use SessionRef.
  if (!request) return;
  if ('session' in request) throw taken();
  Object.defineProperty(request, 'session', PROPERTY);
}

/** The same on a request of Node's, which is what middleware is given where handlers are given another. */
export function defineSessionProperty(request: IncomingMessage): void {
  Object.defineProperty(request, 'session', PROPERTY);
}

function objectOf(request: IncomingMessage): SessionObject | undefined {
  const session = sessionOf(request);
  return session && sessionObjectOf(session);
}

/** Also for null and undefined, by which other libraries end a session: here it would live on. */
function refuse(): never {
  throw new SessionMisuseError('req.session cannot be replaced: use session.logout(), or req.session.destroy().');
}

function isFastify(instance: unknown): instance is FastifyLike {
  return typeof (instance as Partial<FastifyLike> | undefined)?.decorateRequest === 'function';
}

function taken(): ConfigurationError {
  return new ConfigurationError('req.session is taken by another library; SessionModule needs to be the only one.');
}
