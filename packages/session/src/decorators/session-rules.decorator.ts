import { SetMetadata } from '@nestjs/common';

export const NO_SESSION = 'lockstep:no-session';
export const ON_STORE_DOWN = 'lockstep:session-on-store-down';

/** The route, or all of a controller, has no session: none is read, noted as used, or written. Using it throws. */
export function NoSession(): MethodDecorator & ClassDecorator {
  return SetMetadata(NO_SESSION, true);
}

/** What a request with a valid id gets here while the store is down, in place of the module's `onStoreDown`. */
export function OnSessionStoreDown(choice: 'unavailable' | 'anonymous'): MethodDecorator & ClassDecorator {
  return SetMetadata(ON_STORE_DOWN, choice);
}
