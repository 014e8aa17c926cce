import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { sessionAtHand } from '../http/session-slot.js';
import type { SessionRef } from '../session-ref.js';

const wholeSession = (): SessionRef => sessionAtHand();
const oneAttribute = (name: string, _context: ExecutionContext): unknown => sessionAtHand().get(name);

/** The session of the request, as a parameter: `@CurrentSession() session: SessionRef`. */
export const CurrentSession: () => ParameterDecorator = createParamDecorator(wholeSession);

/** One attribute of the session, as a parameter; undefined where it is not set. */
export const SessionAttr: (name: string) => ParameterDecorator = createParamDecorator(oneAttribute);

/** Whether a parameter is one of those, by what Nest notes about it. */
export function isSessionParam(factory: unknown): boolean {
  return factory === wholeSession || factory === oneAttribute;
}
