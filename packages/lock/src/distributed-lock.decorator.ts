import {
  type AsyncMethod,
  attachGuarantee,
  ConfigurationError,
  demandGuarantee,
  type FitsMethod,
  type GuaranteeDecorator,
  type GuardedCall,
  type ObservableMethod,
  type StreamMethod,
} from '@lockstep/core';
import { DISTRIBUTED_LOCK } from './distributed-lock.guarantee.js';
import { withLease } from './lease.decorator.js';
import { LockBusyError } from './lock.errors.js';
import { type LockOptions, resolveLockOptions } from './lock.options.js';
import type { LockKeys, LockService } from './lock.service.js';
import { type LockedCall, openLockedCall, runLocked } from './locked-call.js';

/** A lock's name, or those of several that are taken together, from the arguments of the call. */
export type LockKey = (...args: never[]) => LockKeys;

/** What a call does instead of its work when the lock is still held by another after `wait`. */
export type OnBusy = 'throw' | 'skip' | ((busy: LockBusyError) => unknown);

export interface DistributedLockOptions<Key extends LockKey = LockKey> extends Omit<LockOptions, 'signal'> {
  /** Typed from the method: 1 to 512 characters, none of them a control character; or a list of 1 to 64 such names. */
  readonly key: Key;
  /**
   * `throw`: `LockBusyError`. `skip`: the method does not run and the result is undefined, for a method whose result may
   * be. A function: its result is that of the call. A store that is down is never busy. Streams can only throw.
   * @default 'throw'
   */
  readonly onBusy?: OnBusy;
  /**
   * Says that the method returns an Observable. Needed only where the build does not emit the declared type of the
   * result as metadata (`emitDecoratorMetadata`), or there is none declared; without it the first call then fails.
   */
  readonly returns?: 'observable';
}

/** `unknown` where what a busy call returns is a result of the method, else a type that no descriptor has. */
type FitsResult<Busy, Method extends AsyncMethod> =
  (Busy extends (...args: never[]) => infer Result ? Awaited<Result> : undefined) extends Awaited<ReturnType<Method>>
    ? unknown
    : { readonly 'lockstep: what onBusy gives is no result of the decorated method': Awaited<ReturnType<Method>> };

type BusyDecorator<Key, Busy> = <Method extends AsyncMethod>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> & FitsMethod<Key, Method> & FitsResult<Busy, Method>,
) => void;

type Instead = Exclude<OnBusy, 'throw'>;
type Throwing<Key extends LockKey> = DistributedLockOptions<Key> & { readonly onBusy?: 'throw' };

/**
 * At most one call with the same key runs at a time, or as many as `mode` allows, in all processes that share the
 * store. The method reads its lease by `currentLease()`, or gets it as the argument marked by `@Lease()`.
 *
 * A call lasts until its result is there. That of a method that returns an Observable is one subscription: subscribing
 * takes the lock and only then calls the method, and the lock is held until the Observable completes or fails, or the
 * subscriber leaves. That of an async generator is one run: the first `next()` takes the lock, held until the generator
 * returns or throws. A consumer that neither goes on nor leaves keeps the lock, unless `maxHold` bounds it.
 *
 * @throws LockBusyError from the method when somebody else holds the lock until the wait is over (HTTP 423)
 * @throws LockLostError from the method when it succeeded but the lock had been lost; from a stream at its end
 * @throws StoreUnavailableError from the method when the store does not answer and the method did not run (HTTP 503)
 * @throws ConfigurationError at once when an option is not valid, at boot when there is no such store or
 * it cannot grant the mode; from the method
 * when it gave a stream and nothing had said so
 */
export function DistributedLock<Key extends LockKey>(
  options: Throwing<Key> & { readonly returns: 'observable' },
): GuaranteeDecorator<Key, ObservableMethod>;
export function DistributedLock<Key extends LockKey>(options: Throwing<Key>): GuaranteeDecorator<Key, StreamMethod>;
export function DistributedLock<Key extends LockKey, const Busy extends Instead>(
  options: DistributedLockOptions<Key> & { readonly onBusy: Busy },
): BusyDecorator<Key, Busy>;
export function DistributedLock<Key extends LockKey>(
  options: DistributedLockOptions<Key>,
): GuaranteeDecorator<Key, StreamMethod> {
  const { key, returns, onBusy, ...locked } = checkedOptions(options);
  const keyOf = ({ args }: GuardedCall): LockKeys => key(...(args as never[]));
  const open = (locks: LockService, call: GuardedCall, how: LockOptions): Promise<LockedCall> => {
    const keys = keyOf(call);
    return openLockedCall<unknown>(keys, () => locks.enter(keys, how));
  };
  return (target, property, descriptor) => {
    attachGuarantee(target, property, descriptor, DISTRIBUTED_LOCK, {
      returns,
      around: async (locks, call) =>
        unlessBusy(open(locks, call, locked), onBusy, (opened) =>
          runLocked(opened, (lease) => call.proceed(withLease(call.args, lease, target, property))),
        ),
      open: async (locks, call) => {
        const { lease, run, close } = await open(locks, call, { ...locked, signal: call.signal });
        return { args: withLease(call.args, lease, target, property), run, close };
      },
    });
    const verify = (locks: unknown): void => (locks as LockService).assertPossible(locked);
    demandGuarantee(target, property, { by: '@DistributedLock', guarantee: DISTRIBUTED_LOCK, verify });
  };
}

/** What `onBusy` says in place of the work; a busy lock further inside is the work's own error. */
async function unlessBusy(
  opening: Promise<LockedCall>,
  onBusy: OnBusy | undefined,
  work: (opened: LockedCall) => Promise<unknown>,
): Promise<unknown> {
  let opened: LockedCall;
  try {
    opened = await opening;
  } catch (error) {
    if (!(error instanceof LockBusyError) || onBusy === undefined || onBusy === 'throw') throw error;
    return onBusy === 'skip' ? undefined : onBusy(error);
  }
  return work(opened);
}

function checkedOptions<Key extends LockKey>(options: DistributedLockOptions<Key>): DistributedLockOptions<Key> {
  const { key, returns, onBusy } = ((options as unknown) ?? {}) as Record<string, unknown>;
  if (typeof key !== 'function') {
    throw ConfigurationError.option('@DistributedLock key', key, "a function of the method's arguments");
  }
  if (returns !== undefined && returns !== 'observable') {
    throw ConfigurationError.option('@DistributedLock returns', returns, "'observable', or left out");
  }
  if (onBusy !== undefined && onBusy !== 'throw' && onBusy !== 'skip' && typeof onBusy !== 'function') {
    throw ConfigurationError.option('@DistributedLock onBusy', onBusy, "'throw', 'skip' or a function");
  }
  resolveLockOptions(options);
  return options;
}
