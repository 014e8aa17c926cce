export const NO_SESSION = 'lockstep:no-session';
export const ON_STORE_DOWN = 'lockstep:session-on-store-down';
export const READONLY_SESSION = 'lockstep:readonly-session';
export const REQUIRED_SESSION = 'lockstep:required-session';

export type StoreDownChoice = 'unavailable' | 'anonymous';

export interface SessionRequirement {
  readonly principal: boolean;
  readonly maxAgeMs: number;
}

export function isWithoutSession(type: object, handler: object): boolean {
  return ruled<boolean>(NO_SESSION, type, handler) === true;
}

export function isReadonly(type: object, handler: object): boolean {
  return ruled<boolean>(READONLY_SESSION, type, handler) === true;
}

export function onStoreDownOf(type: object, handler: object): StoreDownChoice | undefined {
  return ruled<StoreDownChoice>(ON_STORE_DOWN, type, handler);
}

export function requirementOf(type: object, handler: object): SessionRequirement | undefined {
  return ruled<SessionRequirement>(REQUIRED_SESSION, type, handler);
}

/** What the method says goes before what its class says. */
function ruled<T>(key: string, type: object, handler: object): T | undefined {
  return (Reflect.getMetadata(key, handler) ?? Reflect.getMetadata(key, type)) as T | undefined;
}
