import type { IncomingMessage } from 'node:http';
import { RequestContext } from '@lockstep/core';
import type { RequestSession } from '../request-session.js';

const SLOT = Symbol('lockstep:session');

type Slotted = IncomingMessage & { [SLOT]?: RequestSession };

export function putSession(request: IncomingMessage, session: RequestSession): void {
  (request as Slotted)[SLOT] = session;
}

export function sessionOf(request: IncomingMessage | undefined): RequestSession | undefined {
  return (request as Slotted | undefined)?.[SLOT];
}

/** The session of the request at hand, wherever in it this is called. */
export function currentSession(): RequestSession | undefined {
  return sessionOf(RequestContext.current()?.exchange?.request);
}
