import { FenceMisuseError } from './fence.errors.js';

/** What a signed 64-bit number holds: a column of SQL, a transaction id of ZooKeeper. */
const GREATEST = 2n ** 63n - 1n;
const LONGEST_NAME = 512;
const CONTROL = /\p{Cc}/u;

/** @throws FenceMisuseError before anything is sent, saying why it is no fence */
export function assertFence(fence: unknown): asserts fence is bigint {
  if (fence === undefined) {
    throw new FenceMisuseError(
      'A guard needs a fence, and got undefined: the store of this lock gives none, so nothing can be guarded by it. ' +
        'Take the lock from a store that gives fences.',
    );
  }
  if (typeof fence !== 'bigint') {
    throw new FenceMisuseError(
      `A fence is a bigint, not a ${typeof fence}: pass lease.fence as it is, a number may have lost its last digits.`,
    );
  }
  if (fence < 0n || fence > GREATEST) throw new FenceMisuseError(`A fence is from 0 to ${GREATEST}, not ${fence}.`);
}

/** @throws FenceMisuseError before anything is sent */
export function assertResource(name: unknown): asserts name is string {
  if (typeof name === 'string' && name.length > 0 && name.length <= LONGEST_NAME && !CONTROL.test(name)) return;
  throw new FenceMisuseError(
    `The name of a fenced resource is a text of 1 to ${LONGEST_NAME} characters without control characters.`,
  );
}
