export type { CarriedHeaders, ContextCarrier } from './context/context-carrier.js';
export { ContextCarriers } from './context/context-carriers.js';
export { type DerivedKeys, Keyring, type KeyringOptions } from './context/keyring.js';
export { type Principal, RequestContext } from './context/request-context.js';
export { CoreModule } from './core.module.js';
export type { LockstepModuleOptions } from './core.options.js';
export { type Drainable, type DrainPhase, DrainService } from './drain/drain.service.js';
export { MemoryRetryScheduler } from './drivers/memory/memory-retry-scheduler.js';
export { type Duration, type DurationBounds, durationMs } from './duration.js';
export { ConfigurationError } from './errors/configuration.error.js';
export { describeThrown, messageOfThrown } from './errors/describe-thrown.js';
export {
  type ErrorField,
  type ErrorKind,
  isLockstepError,
  LockstepError,
  type LockstepErrorInit,
} from './errors/lockstep-error.js';
export { LockstepExceptionFilter } from './errors/lockstep-exception.filter.js';
export { httpStatusOf, type ProblemDetails, problemDetailsOf, retryAfterSeconds } from './errors/problem-details.js';
export { StoreUnavailableError, type StoreUnavailableInit } from './errors/store-unavailable.error.js';
export { attachGuarantee } from './guarantee/attach-guarantee.js';
export { demandGuarantee, type GuaranteeDemand } from './guarantee/demanded-guarantees.js';
export {
  type Around,
  type CallOutcome,
  type CallScope,
  GUARANTEE_LAYERS,
  type Guarantee,
  type GuaranteeLayer,
  type GuardedCall,
  guaranteesOf,
  type Keeping,
  type MethodCall,
  type StreamCall,
} from './guarantee/guarantee.js';
export type {
  AsyncMethod,
  FitsMethod,
  GuaranteeDecorator,
  ObservableMethod,
  StreamMethod,
} from './guarantee/method-types.js';
export { type EntryHook, type HttpExchange, RequestEntry } from './http/request-entry.js';
export { LockstepModule } from './lockstep.module.js';
export { PeriodicTask, type PeriodicTaskInit } from './loop/periodic-task.js';
export { checkedDriver, type DriverProvider } from './module/driver-provider.js';
export { injectHidden } from './module/hidden-injection.js';
export {
  checkedSwitch,
  checkKnown,
  isObject,
  urlWithoutSecrets,
  wholeNumber,
  wrongShape,
} from './options/option-checks.js';
export {
  RETRY_SCHEDULER,
  type RetryScheduler,
  type WakeUp,
  type WakeUpHandler,
  type WakeUpSubscription,
} from './scheduling/retry-scheduler.js';
export { ServerClock } from './server-clock.js';
export { checkpoint } from './telemetry/checkpoint.js';
export { type Incident, Incidents } from './telemetry/incidents.js';
export { Listeners } from './telemetry/listeners.js';
export { count, type Observe, observeGauges, record, recordSize } from './telemetry/metrics.js';
export { type OpenSpan, openSpan, type SpanSettings, withSpan } from './telemetry/telemetry.js';
export { monotonicMs } from './time.js';
export { Permits } from './waiting/permits.js';
export { rested, untilAborted } from './waiting/until-aborted.js';
