import { ConfigurationError, count, type MethodCall } from '@lockstep/core';
import { Inject, Injectable, Optional } from '@nestjs/common';
import { unwrapVerdict } from '../failure-verdict.js';
import { OperationInProgressError } from '../idempotency.errors.js';
import { IdempotencyService } from '../idempotency.service.js';
import type { IdempotencyMode } from '../idempotent.decorator.js';
import { whileInProgress } from '../method/queued-job.js';
import { withoutStream } from '../method/streams.js';
import type { Begun, ExecutionPolicy, Operation } from '../operation.js';
import { type HandledMessage, MESSAGE_INBOX, type MessageInbox } from './message-inbox.js';

/** What `@IdempotentConsumer` says about a method, checked. */
export interface ConsumerMethod {
  readonly consumer: string;
  readonly mode: IdempotencyMode;
  readonly messageId: (...args: readonly unknown[]) => unknown;
  readonly onDuplicate: (...args: readonly unknown[]) => unknown;
  readonly policy: ExecutionPolicy;
}

/** Apart from the scopes of all callers: nobody but a consumer has it. */
const SCOPE = 'consumer';
/** A duplicate gets no result, only the word that there was one. */
const DONE = '{}';

/**
 * Lets a consumer handle each message once.
 *
 * ```
 * transactional: none --effect and memory commit--> handled       --rollback, or a crash before the commit--> none
 * lease:         as IdempotencyService; a copy that comes meanwhile is refused, so that its broker keeps it
 * ```
 */
@Injectable()
export class MessageConsumers {
  constructor(
    @Inject(IdempotencyService) private readonly service: IdempotencyService,
    @Optional() @Inject(MESSAGE_INBOX) private readonly inbox?: MessageInbox,
  ) {}

  /** @throws ConfigurationError where messages cannot be remembered in this mode */
  assertPossible({ consumer, mode }: ConsumerMethod): void {
    if (mode === 'transactional') this.inboxOf(consumer);
  }

  /** @throws what the method and `onDuplicate` throw, and see `@IdempotentConsumer` */
  async handle(method: ConsumerMethod, call: MethodCall): Promise<unknown> {
    const { consumer, mode, messageId, onDuplicate } = method;
    const id = messageId(...call.args) as string;
    const handled = await (mode === 'lease' ? this.inLease(method, id, call) : this.inTransaction(consumer, id, call));
    count('lockstep.idempotency.message', { consumer, outcome: handled.isFirst ? 'handled' : 'duplicate' });
    return handled.isFirst ? handled.result : onDuplicate(...call.args);
  }

  private async inTransaction(consumer: string, id: string, call: MethodCall): Promise<HandledMessage<unknown>> {
    try {
      return await this.inboxOf(consumer).once(consumer, id, () => work(call));
    } catch (error) {
      throw unwrapVerdict(error);
    }
  }

  private async inLease(
    { consumer, policy }: ConsumerMethod,
    id: string,
    call: MethodCall,
  ): Promise<HandledMessage<unknown>> {
    // A producer may write a message anew when it sends it again; what tells messages apart is the id alone.
    const begun = await this.begin({ scope: SCOPE, operation: consumer, key: id, payload: null }, policy, call);
    if (begun.kind === 'replay') return { isFirst: false };
    const { execution } = begun;
    let result: unknown;
    try {
      execution.enter();
      result = await execution.run(() => work(call));
    } catch (error) {
      await this.service.fail(execution, error);
      throw unwrapVerdict(error);
    }
    await this.service.end(execution, { to: 'completed', response: DONE });
    return { isFirst: true, result };
  }

  private async begin(operation: Operation, policy: ExecutionPolicy, { args }: MethodCall): Promise<Begun> {
    try {
      return await this.service.begin(operation, policy);
    } catch (error) {
      throw error instanceof OperationInProgressError ? await whileInProgress(error, args) : error;
    }
  }

  private inboxOf(consumer: string): MessageInbox {
    if (this.inbox) return this.inbox;
    throw new ConfigurationError(
      `The consumer '${consumer}' is transactional, so IdempotencyModule needs an inbox: inbox: sqlInbox().`,
    );
  }
}

async function work({ name, proceed }: MethodCall): Promise<unknown> {
  return withoutStream(await proceed(), name, '@IdempotentConsumer');
}
