export const NO_SESSION = 'lockstep:no-session';
export const ON_STORE_DOWN = 'lockstep:session-on-store-down';
export const READONLY_SESSION = 'lockstep:readonly-session';
export const REQUIRED_SESSION = 'lockstep:required-session';

export type StoreDownChoice = 'unavailable' | 'anonymous';

export interface SessionRequirement {
  readonly principal: boolean;
  readonly maxAgeMs: number;
}

/** Marks that cannot stand together; one of a method takes back those of its class. */
const EXCLUSIVE = [NO_SESSION, READONLY_SESSION, REQUIRED_SESSION] as const;

export function isWithoutSession(type: object, handler: object): boolean {
  return exclusive<boolean>(NO_SESSION, type, handler) === true;
}

export function isReadonly(type: object, handler: object): boolean {
  return exclusive<boolean>(READONLY_SESSION, type, handler) === true;
}

export function onStoreDownOf(type: object, handler: object): StoreDownChoice | undefined {
  return ruled<StoreDownChoice>(ON_STORE_DOWN, type, handler);
}

export function requirementOf(type: object, handler: object): SessionRequirement | undefined {
  return exclusive<SessionRequirement>(REQUIRED_SESSION, type, handler);
}

/** A class that requires a session may have a method without one, and the reverse. */
function exclusive<T>(key: string, type: object, handler: object): T | undefined {
  const isTakenBack =
    key === NO_SESSION
      ? EXCLUSIVE.some((other) => other !== NO_SESSION && Reflect.hasMetadata(other, handler))
      : Reflect.hasMetadata(NO_SESSION, handler);
  const own = Reflect.getMetadata(key, handler) as T | undefined;
  return own ?? (isTakenBack ? undefined : (Reflect.getMetadata(key, type) as T | undefined));
}

/** What the method says goes before what its class says. */
function ruled<T>(key: string, type: object, handler: object): T | undefined {
  return (Reflect.getMetadata(key, handler) ?? Reflect.getMetadata(key, type)) as T | undefined;
}
