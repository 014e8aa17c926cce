import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { currentSession } from '../http/session-slot.js';
import { SessionMisuseError } from '../session.errors.js';
import type { SessionRef } from '../session-ref.js';

/** The session of the request, as a parameter: `@CurrentSession() session: SessionRef`. */
export const CurrentSession: () => ParameterDecorator = createParamDecorator((): SessionRef => sessionAtHand());

/** One attribute of the session, as a parameter; undefined where it is not set. */
export const SessionAttr: (name: string) => ParameterDecorator = createParamDecorator(
  (name: string, _context: ExecutionContext): unknown => sessionAtHand().get(name),
);

function sessionAtHand(): SessionRef {
  const session = currentSession();
  if (session) return session;
  throw new SessionMisuseError('There is no session here: import SessionModule, and use it in HTTP requests.');
}
