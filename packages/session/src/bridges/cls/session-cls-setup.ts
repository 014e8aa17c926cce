import type { Principal } from '@lockstep/core';
import { currentSession } from '../../http/session-slot.js';
import type { SessionRef } from '../../session-ref.js';

/** What {@link sessionClsSetup} adds to the store of `nestjs-cls`: `ClsService<SessionClsStore & ClsStore>`. */
export interface SessionClsStore {
  /** The session of the request; undefined where `SessionModule` has none for it. */
  readonly session: SessionRef | undefined;
  /** Its user as of now: it changes with a login and a logout. */
  readonly user: Principal | undefined;
}

/** What is needed of `ClsService`; a type by shape, so that every version with this shape will do. */
interface ClsServiceLike {
  get(): unknown;
}

/**
 * The session in `nestjs-cls` 5 and later, as `setup` of its middleware, guard or interceptor:
 * `ClsModule.forRoot({ global: true, middleware: { mount: true, setup: sessionClsSetup } })`. Then `cls.get('session')`
 * is the session of the request and `cls.get('user')` its user. A nested `cls.run()` copies `user` as it is then.
 */
export function sessionClsSetup(cls: ClsServiceLike): void {
  const session = currentSession();
  const user = { get: () => session?.principal, enumerable: true, configurable: true };
  Object.defineProperties(cls.get(), { session: { value: session, enumerable: true, configurable: true }, user });
}
