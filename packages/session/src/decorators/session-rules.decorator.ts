import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import { applyDecorators, SetMetadata, UseGuards } from '@nestjs/common';
import { noSessionGuard, readonlyGuard, requirementGuard, storeDownGuard } from './session-guards.js';
import {
  NO_SESSION,
  ON_STORE_DOWN,
  READONLY_SESSION,
  REQUIRED_SESSION,
  type SessionRequirement,
  type StoreDownChoice,
} from './session-rules.js';

export interface RequireSessionOptions {
  /** False: a session of nobody is enough. @default true */
  readonly principal?: boolean;
  /**
   * How long ago the login may be, by the store's clock: for what asks for the password again. At least 1 s.
   * @default as long as the session lasts
   */
  readonly maxAge?: Duration;
}

const LONGEST_AGE_MS = 400 * 86_400_000;

/**
 * The route, or all of a controller, has no session: none is read, noted as used, or written, and its cookie is left
 * alone. Using it throws `SessionMisuseError`. Where it stands beside something that asks for the session, the
 * application does not start.
 *
 * A route that is told apart by more than method and path (a host, a version in a header), or whose path is another
 * route's too, has its session read before that is known; the handler gets none all the same.
 */
export function NoSession(): MethodDecorator & ClassDecorator {
  return applyDecorators(SetMetadata(NO_SESSION, true), UseGuards(noSessionGuard));
}

/**
 * What a request with a valid id gets here while the store is down, in place of the module's `onStoreDown`; that of the
 * method over that of the class.
 *
 * @throws ConfigurationError for any other choice
 */
export function OnSessionStoreDown(choice: StoreDownChoice): MethodDecorator & ClassDecorator {
  if (choice !== 'unavailable' && choice !== 'anonymous') {
    throw ConfigurationError.option('@OnSessionStoreDown()', choice, "one of 'unavailable', 'anonymous'");
  }
  return applyDecorators(SetMetadata(ON_STORE_DOWN, choice), UseGuards(storeDownGuard));
}

/**
 * The session can be looked at here, and no more: what would write throws `SessionMisuseError`, and a value that is
 * changed in place is not looked at again, which spares the comparison at the end of each request.
 */
export function ReadonlySession(): MethodDecorator & ClassDecorator {
  return applyDecorators(SetMetadata(READONLY_SESSION, true), UseGuards(readonlyGuard));
}

/**
 * Only requests with a session of somebody are let in; the others get 401 `SESSION_REQUIRED`, or `LOGIN_TOO_OLD` where
 * the login was longer ago than `maxAge`. 503 while the store is down, also where it is served to visitors then: whether
 * the client is logged in is not known. What the method says replaces what the class says.
 *
 * Needs nothing injected. In a message or another call without an HTTP request there is no session to ask, and
 * `SessionMisuseError` is thrown.
 *
 * @throws ConfigurationError for options that are none
 */
export function RequireSession(options: RequireSessionOptions = {}): MethodDecorator & ClassDecorator {
  return applyDecorators(SetMetadata(REQUIRED_SESSION, resolved(options)), UseGuards(requirementGuard));
}

function resolved({ principal = true, maxAge }: RequireSessionOptions): SessionRequirement {
  if (typeof principal !== 'boolean') throw ConfigurationError.option('principal', principal, 'a boolean');
  if (maxAge === undefined) return { principal, maxAgeMs: Number.POSITIVE_INFINITY };
  if (!principal) throw ConfigurationError.option('principal', principal, 'true with maxAge: nobody has logged in');
  return { principal, maxAgeMs: durationMs(maxAge, 'maxAge', { minMs: 1_000, maxMs: LONGEST_AGE_MS }) };
}
