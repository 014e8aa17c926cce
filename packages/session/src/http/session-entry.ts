import type { HttpExchange, RequestContext } from '@lockstep/core';
import { StoreUnavailableError } from '@lockstep/core';
import { provenTokens } from '../keeping/session-keeping.js';
import { RequestSession } from '../request-session.js';
import { SessionMisuseError } from '../session.errors.js';
import type { SessionRuntime } from '../session-state.js';
import { defineSessionProperty } from './request-property.js';
import type { RequestProtection } from './request-protection.js';
import type { RouteRules } from './route-rules.js';
import { putSession } from './session-slot.js';

/** Gives each request its session, and reads it where the client holds one. */
export class SessionEntry {
  constructor(
    private readonly runtime: SessionRuntime,
    private readonly rules: RouteRules,
    private readonly protection: RequestProtection,
  ) {}

  /** An `EntryHook`. A request without a token of ours costs nothing but a look at its headers. */
  enter({ request, response }: HttpExchange, context: RequestContext, original: unknown): Promise<void> | undefined {
    const { options, transport, keeping } = this.runtime;
    const session = new RequestSession(this.runtime, { request, response, context });
    putSession(request, session);
    if (original !== request) defineSessionProperty(request);
    if (options.exclude?.(request)) {
      session.refuseWrites(new SessionMisuseError('This request has no session: the option `exclude` says so.'));
      return undefined;
    }
    const rule = this.rules.find(request);
    if (rule === 'no-session') {
      session.refuseWrites(new SessionMisuseError('This route has no session: it is marked with @NoSession().'));
      return undefined;
    }
    const presented = transport.presented(request);
    if (presented.tokens.length === 0) return undefined;
    const tokens = provenTokens(presented, keeping);
    if (tokens.length === 0) return undefined;
    const refusal = this.protection.refusalOf(original, response);
    if (refusal) {
      session.refuseWrites(refusal);
      return undefined;
    }
    const mayGoOn = (rule ?? options.onStoreDown) === 'anonymous';
    return session.load(presented, tokens).catch((error: unknown) => {
      // Whoever answers the error must not begin another session in place of one that may be there.
      session.refuseWrites(error instanceof Error ? error : new Error('The session cannot be read', { cause: error }));
      if (!mayGoOn || !(error instanceof StoreUnavailableError)) throw error;
    });
  }
}
