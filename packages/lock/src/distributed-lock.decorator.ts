import { attachGuarantee, ConfigurationError, type Guarantee, type GuaranteeDecorator } from '@lockstep/core';
import { type LockModuleOptions, resolveLockOptions } from './lock.options.js';
import { LockService } from './lock.service.js';

/** A lock's name, from the arguments of the call. */
export type LockKey = (...args: never[]) => string;

export interface DistributedLockOptions<Key extends LockKey = LockKey> extends LockModuleOptions {
  /** Typed from the method: 1 to 512 characters, none of them a control character. */
  readonly key: Key;
}

const GUARANTEE: Guarantee<LockService> = {
  name: 'DistributedLock',
  layer: 'lock',
  runtime: LockService,
  module: 'LockModule.forRoot(…)',
};

/**
 * At most one call with the same key runs at a time, in all processes that share the store. The method reads its lease
 * by `currentLease()`.
 *
 * @throws LockBusyError from the method when somebody else holds the lock until the wait is over (HTTP 423)
 * @throws LockLostError from the method when it succeeded but the lock had been lost
 * @throws StoreUnavailableError from the method when the store does not answer and the method did not run (HTTP 503)
 * @throws ConfigurationError at once when `key`, `ttl` or `wait` is not valid
 */
export function DistributedLock<Key extends LockKey>(options: DistributedLockOptions<Key>): GuaranteeDecorator<Key> {
  const { key, ...times } = checkedOptions(options);
  return (target, property, descriptor) => {
    attachGuarantee(target, property, descriptor, GUARANTEE, (locks, call) =>
      locks.using(key(...(call.args as never[])), times, () => call.proceed()),
    );
  };
}

function checkedOptions<Key extends LockKey>(options: DistributedLockOptions<Key>): DistributedLockOptions<Key> {
  const key: unknown = (options as Partial<DistributedLockOptions> | undefined)?.key;
  if (typeof key !== 'function') {
    throw ConfigurationError.option('@DistributedLock key', key, "a function of the method's arguments");
  }
  resolveLockOptions(options);
  return options;
}
