import type { IncomingMessage } from 'node:http';
import { ConfigurationError } from '@lockstep/core';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { sessionObjectOf } from './session-object.js';
import { sessionOf } from './session-slot.js';

interface FastifyLike {
  decorateRequest(name: string, accessor: { getter(): unknown; setter(value: unknown): void }): unknown;
  hasRequestDecorator(name: string): boolean;
}

interface ExpressLike {
  readonly request: object;
}

/**
 * Makes `req.session` the session, on the requests that handlers of this adapter are given; once for all requests, so
 * that one that does not look at it pays nothing.
 *
 * @throws ConfigurationError where another library has taken the name
 */
export function installSessionProperty(adapter: AbstractHttpAdapter): void {
  const instance: unknown = adapter.getInstance();
  const get = (raw: IncomingMessage): unknown => {
    const session = sessionOf(raw);
    return session && sessionObjectOf(session);
  };
  const set = (raw: IncomingMessage, value: unknown): void => {
    const session = sessionOf(raw);
    if (session && value !== null && value !== undefined)
      throw new ConfigurationError('req.session cannot be replaced.');
  };
  if (isFastify(instance)) {
    if (instance.hasRequestDecorator('session')) throw taken();
    instance.decorateRequest('session', {
      getter(this: { raw: IncomingMessage }) {
        return get(this.raw);
      },
      setter(this: { raw: IncomingMessage }, value: unknown) {
        set(this.raw, value);
      },
    });
    return;
  }
  const { request } = instance as ExpressLike;
  if ('session' in request) throw taken();
  Object.defineProperty(request, 'session', {
    configurable: true,
    get(this: IncomingMessage) {
      return get(this);
    },
    set(this: IncomingMessage, value: unknown) {
      set(this, value);
    },
  });
}

function isFastify(instance: unknown): instance is FastifyLike {
  return typeof (instance as Partial<FastifyLike>).decorateRequest === 'function';
}

function taken(): ConfigurationError {
  return new ConfigurationError('req.session is taken by another library; SessionModule needs to be the only one.');
}
