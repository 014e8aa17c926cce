export { CurrentSession, SessionAttr } from './decorators/session-params.decorator.js';
export {
  NoSession,
  OnSessionStoreDown,
  ReadonlySession,
  RequireSession,
  type RequireSessionOptions,
} from './decorators/session-rules.decorator.js';
export { memorySessionStore } from './drivers/memory/index.js';
export { MemorySessionStore, type MemorySessionStoreOptions } from './drivers/memory/memory-session-store.js';
export type { KeepingDriver, KeepingHost, ProvenToken, SessionKeeping } from './keeping/session-keeping.js';
export {
  SessionContendedError,
  SessionEndedError,
  SessionMisuseError,
  SessionRequiredError,
  SessionTooLargeError,
  TooManySessionsError,
} from './session.errors.js';
export { SessionModule } from './session.module.js';
export type { SessionModuleExtras } from './session.module-definition.js';
export type { SessionCookieOptions, SessionModuleOptions } from './session.options.js';
export { type SessionInfo, SessionService } from './session.service.js';
export type { SessionEvent } from './session-events.js';
export type { DeviceMeta, LoginOptions, SessionRef } from './session-ref.js';
export {
  type CreateOutcome,
  type CreateRequest,
  type ExpiryTellingStore,
  type Gone,
  isWatchable,
  type LoadRequest,
  REMEMBERED_SAVES,
  type Refused,
  type RemoveRequest,
  type ReplaceOutcome,
  type ReplaceRequest,
  type SaveOutcome,
  type SaveRequest,
  SESSION_STORE,
  type SessionDraft,
  type SessionHead,
  type SessionKey,
  type SessionLimit,
  type SessionRecord,
  type SessionStore,
  type StoredAttribute,
  type Swept,
  tellsOfExpiry,
  type WatchableStore,
} from './session-store.js';
export type { UpgradeOptions } from './upgrade/upgrade.options.js';
export type { UpgradedSession, UpgradeEnd } from './upgrade/upgraded-session.js';
