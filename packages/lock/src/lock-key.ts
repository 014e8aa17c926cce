import { LockKeyError } from './lock.errors.js';

const LONGEST = 512;
const CONTROL = /\p{Cc}/u;

/** @throws LockKeyError before anything is sent */
export function assertLockKey(key: unknown): asserts key is string {
  if (typeof key !== 'string') throw new LockKeyError(`a string, not ${key === null ? 'null' : typeof key}`);
  if (key.length === 0 || key.length > LONGEST) {
    throw new LockKeyError(`1 to ${LONGEST} characters long, not ${key.length}`);
  }
  if (CONTROL.test(key)) throw new LockKeyError('free of control characters');
}
