import { StoreUnavailableError } from '@lockstep/core';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { currentSession, sessionAtHand } from '../http/session-slot.js';
import type { RequestSession } from '../request-session.js';
import { SessionMisuseError, SessionRequiredError } from '../session.errors.js';
import { isReadonly, isWithoutSession, onStoreDownOf, requirementOf } from './session-rules.js';

/** Keeps what `@NoSession()` promises where the route could not be told before it was reached. */
export const noSessionGuard: CanActivate = {
  canActivate: (context: ExecutionContext) => {
    if (!isWithoutSession(context.getClass(), context.getHandler())) return true;
    const session = currentSession();
    if (!session || session.refusal instanceof SessionMisuseError) return true;
    assertUnchanged(session, '@NoSession()');
    session.refuseWrites(new SessionMisuseError('This route has no session: it is marked with @NoSession().'));
    return true;
  },
};

/** The same for `@OnSessionStoreDown()`; where visitors are served, there is nothing to refuse. */
export const storeDownGuard: CanActivate = {
  canActivate: (context: ExecutionContext) => {
    const { refusal } = currentSession() ?? {};
    const isRefused = onStoreDownOf(context.getClass(), context.getHandler()) === 'unavailable';
    if (isRefused && refusal instanceof StoreUnavailableError) throw refusal;
    return true;
  },
};

export const readonlyGuard: CanActivate = {
  canActivate: (context: ExecutionContext) => {
    if (!isReadonly(context.getClass(), context.getHandler())) return true;
    const session = sessionAtHand();
    assertUnchanged(session, '@ReadonlySession()');
    session.makeReadonly(new SessionMisuseError('This route only reads: it is marked with @ReadonlySession().'));
    return true;
  },
};

export const requirementGuard: CanActivate = {
  canActivate: (context: ExecutionContext) => {
    const requirement = requirementOf(context.getClass(), context.getHandler());
    if (!requirement) return true;
    const { principal, maxAgeMs } = requirement;
    const session = sessionAtHand();
    if (session.refusal) throw session.refusal;
    if (!session.exists) throw new SessionRequiredError('no-session');
    if (!principal) return true;
    if (!session.principal) throw new SessionRequiredError('no-principal');
    if ((session.loginAgeMs ?? Number.POSITIVE_INFINITY) > maxAgeMs) throw new SessionRequiredError('login-too-old');
    return true;
  },
};

/** What middleware or an earlier guard has set would be lost without a word. */
function assertUnchanged(session: RequestSession, mark: string): void {
  if (session.hasChanges()) {
    throw new SessionMisuseError(`Something was set before this route was reached, which is marked with ${mark}.`);
  }
}
