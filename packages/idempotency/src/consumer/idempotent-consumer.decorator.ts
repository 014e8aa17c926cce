import {
  type AsyncMethod,
  attachGuarantee,
  ConfigurationError,
  demandGuarantee,
  type FitsMethod,
  type Guarantee,
} from '@lockstep/core';
import type { IdempotencyMode, IdempotentDecorator, IdempotentPolicyOptions } from '../idempotent.decorator.js';
import { recordOperation } from '../method/keyed-method.js';
import type { TextOfCall } from '../method/method-types.js';
import { assertNoStreamMethod } from '../method/streams.js';
import { checkedMode, resolveRunning } from '../resolve-policy.js';
import { type ConsumerMethod, MessageConsumers } from './message-consumers.service.js';

/** What a copy of a message that was handled gets in place of the method's result. */
export type OnDuplicate = (...args: never[]) => unknown;

interface ConsumerOptions<Id extends TextOfCall> {
  /**
   * Who handles the message: each consumer of a message handles it once. Letters, digits and `_ . : / -`, at most 200. No
   * other method may have it, and a rename makes all messages new.
   */
  readonly consumer: string;
  /**
   * What the producer calls the message, typed from the method; not what a broker calls its delivery. For
   * `transactional` a UUID of version 7, as the outbox makes them; for `lease` 1 to 1024 characters.
   */
  readonly messageId: Id;
}

/** The memory is part of the SQL transaction of the effect. */
export interface TransactionalConsumerOptions<Id extends TextOfCall = TextOfCall> extends ConsumerOptions<Id> {
  readonly mode: 'transactional';
}

/** The memory is a record of the module's store, claimed before the effect and written after it. */
export interface LeaseConsumerOptions<Id extends TextOfCall = TextOfCall>
  extends ConsumerOptions<Id>,
    Omit<IdempotentPolicyOptions, 'mode' | 'isolation' | 'onStoreDown'> {
  readonly mode: 'lease';
}

export type IdempotentConsumerOptions<Id extends TextOfCall = TextOfCall> =
  | TransactionalConsumerOptions<Id>
  | LeaseConsumerOptions<Id>;

/** `unknown` where a duplicate gets a result of the method, else a type that no descriptor has. */
type FitsDuplicate<Duplicate, Method extends AsyncMethod> = [Duplicate] extends [Awaited<ReturnType<Method>>]
  ? unknown
  : { readonly 'lockstep: what a duplicate gets is no result of the decorated method': Awaited<ReturnType<Method>> };

export type ConsumerDecorator<Id, Duplicate = undefined, Instead = () => unknown> = <Method extends AsyncMethod>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> &
    FitsMethod<Id, Method> &
    FitsMethod<Instead, Method> &
    FitsDuplicate<Duplicate, Method>,
) => void;

const CONSUMER = /^[A-Za-z0-9_.:/-]{1,200}$/;

function guaranteeOf(mode: IdempotencyMode): Guarantee<MessageConsumers> {
  return {
    name: 'IdempotentConsumer',
    // It is the transaction, or joins the one that is open: a lock belongs around it, and @Transactional() may.
    layer: mode === 'transactional' ? 'transaction' : 'idempotency',
    runtime: MessageConsumers,
    module: 'IdempotencyModule.forRoot(…)',
  };
}

const GUARANTEES = { lease: guaranteeOf('lease'), transactional: guaranteeOf('transactional') };

/**
 * A message takes effect once per consumer, whatever number of copies a broker delivers. For handlers of any broker that
 * acknowledges when the method resolves, and delivers again when it rejects.
 *
 * - `transactional`: a copy waits for the transaction that handles another one and then returns, so that it is
 *   acknowledged. A crash before the commit leaves nothing, one after it leaves the memory. The effect is what the method
 *   does in the transaction that `sql.current()` finds.
 * - `lease`: a copy that comes while the first is handled is refused, never acknowledged: the first may still fail. A copy
 *   of a handled message returns. What a crash leaves is uncertain, or handled again under `onLeaseExpiry: 'retry'`.
 *
 * A duplicate returns undefined, or what `onDuplicate` says. Attempts, their pauses and dead letters are the broker's: a
 * message that always fails fails each time. What breaks it: an id that the producer makes anew for each copy; copies
 * that come after the memory has ended (`inboxRetention` of `SqlModule`, `retention`).
 *
 * @throws OperationInProgressError from the method under `lease`, to be delivered again; a job of BullMQ is put off
 * @throws OperationUncertainError from the method under `lease`: an operator must look
 * @throws MessageIdInvalidError from the method under `transactional`, where the id is no UUID of version 7: no copy will
 * ever pass
 * @throws StoreUnavailableError from the method: nothing happened
 * @throws ConfigurationError at once when an option is not valid; at boot without an inbox, or when two methods are one
 * consumer
 */
export function IdempotentConsumer<Id extends TextOfCall, Instead extends OnDuplicate>(
  options: IdempotentConsumerOptions<Id> & { readonly onDuplicate: Instead },
): ConsumerDecorator<Id, Awaited<ReturnType<Instead>>, Instead>;
export function IdempotentConsumer<Id extends TextOfCall>(
  options: IdempotentConsumerOptions<Id> & { readonly onDuplicate?: never },
): ConsumerDecorator<Id>;
export function IdempotentConsumer(
  options: IdempotentConsumerOptions & { readonly onDuplicate?: OnDuplicate },
): IdempotentDecorator {
  const method = resolveConsumer(options);
  const guarantee = GUARANTEES[method.mode];
  return (target, property, descriptor) => {
    assertNoStreamMethod({ prototype: target, property }, descriptor?.value, '@IdempotentConsumer');
    attachGuarantee(target, property, descriptor, guarantee, (consumers, call) => consumers.handle(method, call));
    recordOperation(descriptor.value as object, {
      prototype: target,
      property,
      operation: `consumer ${method.consumer}`,
    });
    const verify = (consumers: unknown): void => (consumers as MessageConsumers).assertPossible(method);
    demandGuarantee(target, property, { by: '@IdempotentConsumer', guarantee, verify });
  };
}

/** @throws ConfigurationError naming the option and its value */
function resolveConsumer(options: IdempotentConsumerOptions & { readonly onDuplicate?: OnDuplicate }): ConsumerMethod {
  const { consumer, mode, messageId, onDuplicate = () => undefined } = ((options as unknown) ?? {}) as typeof options;
  if (typeof consumer !== 'string' || !CONSUMER.test(consumer)) {
    throw ConfigurationError.option('consumer', consumer, 'letters, digits and _ . : / -, at most 200');
  }
  for (const [option, value] of Object.entries({ messageId, onDuplicate })) {
    if (typeof value !== 'function')
      throw ConfigurationError.option(option, value, "a function of the method's arguments");
  }
  const { policy } = resolveRunning(mode === 'lease' ? options : {});
  return Object.freeze({ consumer, mode: checkedMode(mode), messageId, onDuplicate, policy }) as ConsumerMethod;
}
