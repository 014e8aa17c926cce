import type { IncomingMessage } from 'node:http';
import { RequestContext } from '@lockstep/core';
import type { RequestSession } from '../request-session.js';
import { SessionMisuseError } from '../session.errors.js';

const SLOT = Symbol('lockstep:session');

type Slotted = IncomingMessage & { [SLOT]?: RequestSession };

export function putSession(request: IncomingMessage, session: RequestSession): void {
  (request as Slotted)[SLOT] = session;
}

export function sessionOf(request: IncomingMessage | undefined): RequestSession | undefined {
  return (request as Slotted | undefined)?.[SLOT];
}

const bound = new WeakMap<RequestContext, RequestSession>();

/** Makes a session that of a context without a request: of a message that came by a socket. */
export function bindSession(context: RequestContext, session: RequestSession): void {
  bound.set(context, session);
}

export function boundSession(context: RequestContext | undefined): RequestSession | undefined {
  return context && bound.get(context);
}

/** The session of the request, or of the message of a socket, at hand, wherever in it this is called. */
export function currentSession(): RequestSession | undefined {
  const context = RequestContext.current();
  return sessionOf(context?.exchange?.request) ?? boundSession(context);
}

/** @throws SessionMisuseError where there is none */
export function sessionAtHand(): RequestSession {
  const session = currentSession();
  if (session) return session;
  throw new SessionMisuseError(
    'There is no session here: import SessionModule.forRoot(), and use it in HTTP requests.',
  );
}
