export {
  type AbandonedOperation,
  type Completer,
  IdempotencyCompleter,
} from './completion/idempotency-completer.decorator.js';
export {
  type ConsumerDecorator,
  IdempotentConsumer,
  type IdempotentConsumerOptions,
  type LeaseConsumerOptions,
  type OnDuplicate,
  type TransactionalConsumerOptions,
} from './consumer/idempotent-consumer.decorator.js';
export { type HandledMessage, MESSAGE_INBOX, type MessageInbox } from './consumer/message-inbox.js';
export { memoryIdempotencyStore } from './drivers/memory/index.js';
export {
  MemoryIdempotencyStore,
  type MemoryIdempotencyStoreOptions,
} from './drivers/memory/memory-idempotency-store.js';
export { currentIdempotency, type Execution, type IdempotencyContext } from './execution.js';
export type { StoredHeaders } from './http/stored-answer.js';
export {
  AnswerOutsideTransactionError,
  IdempotencyKeyInvalidError,
  IdempotencyKeyMissingError,
  IdempotencyKeyReusedError,
  IdempotencyPayloadUnreadableError,
  NotApplied,
  OperationAbsentError,
  OperationContendedError,
  OperationInProgressError,
  OperationInvalidError,
  OperationLostError,
  OperationResultUnavailableError,
  OperationUncertainError,
  OutcomeUnknown,
  StepResultInvalidError,
} from './idempotency.errors.js';
export { IdempotencyModule } from './idempotency.module.js';
export type { IdempotencyModuleExtras } from './idempotency.module-definition.js';
export type {
  ErrorVerdict,
  IdempotencyModuleOptions,
  IdempotencyScope,
  KeyFormat,
  OnConcurrent,
  OnStoreDown,
} from './idempotency.options.js';
export { IdempotencyService } from './idempotency.service.js';
export type { IdempotencyEvent, IdempotencyListener } from './idempotency-events.js';
export {
  type BeginOutcome,
  type BeginRequest,
  type Claim,
  IDEMPOTENCY_STORE,
  type IdempotencyStore,
  type LeaseExpiryPolicy,
  type Renewal,
  type RenewalOutcome,
  type Resolution,
  type Settlement,
  type UncertainOperation,
} from './idempotency-store.js';
export {
  type EncodedResult,
  type IdempotencyMode,
  Idempotent,
  type IdempotentDecorator,
  type IdempotentHandler,
  type IdempotentMethodOptions,
  type IdempotentOptions,
  type IdempotentPolicyOptions,
} from './idempotent.decorator.js';
export type {
  DataOfCall,
  EncodedMethodDecorator,
  IdempotentMethodDecorator,
  ResultCodec,
  ScopeOfCall,
  TextOfCall,
} from './method/method-types.js';
export { JobPutOffError } from './method/queued-job.js';
export type { AnswerOf, Begun, ExecutionEnd, ExecutionPolicy, Operation } from './operation.js';
export { type OperationKey, operationId } from './operation-id.js';
export type { GivenHttpAnswer, KnownOutcome, OperatorVerdict } from './operator-verdict.js';
export { principalScope } from './principal-scope.js';
export type { PolicyOptions } from './resolve-policy.js';
export type { EncryptionOptions } from './response-vault.js';
export type {
  AdoptingStore,
  AdoptOutcome,
  AdoptRequest,
  PushingStore,
  StepStore,
  Steps,
  TokenStore,
  TransactionalOutcome,
  TransactionalRequest,
  TransactionalRun,
  TransactionalStore,
  TransactionalWork,
  TransactionIsolation,
} from './store-abilities.js';
export { IdempotencyToken, type IdempotencyTokenRouteOptions } from './tokens/idempotency-token.decorator.js';
export {
  type Consumed,
  IdempotencyTokens,
  type IssueTokenOptions,
  type TokenUse,
} from './tokens/idempotency-tokens.service.js';
export {
  type CanDeliver,
  IssueIdempotencyToken,
  type IssueIdempotencyTokenOptions,
  type IssuingDecorator,
} from './tokens/issue-idempotency-token.decorator.js';
export {
  IdempotencyTokenInvalidError,
  IdempotencyTokenMissingError,
  IdempotencyTokenUndeliverableError,
} from './tokens/token.errors.js';
export type { TokenFor } from './tokens/token-for.js';
export type { IdempotencyTokenOptions, TokenMode, TokenPlan } from './tokens/token-options.js';
export type { TokenPlace } from './tokens/token-place.js';
