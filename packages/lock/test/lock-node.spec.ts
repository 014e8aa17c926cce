import { describe, expect, it } from 'vitest';
import { blockersOf, queueOf } from '../dist/drivers/zookeeper/lock-node.js';

// As ZooKeeper names them: the counter of a parent is a signed 32-bit number, printed with at least ten digits.
const AROUND_THE_WRAP = ['w-a-2147483646', 'w-b-2147483647', 'w-c--2147483648', 'w-d--2147483647'];
const AROUND_ZERO = ['w-a--000000002', 'w-b--000000001', 'w-c-0000000000', 'w-d-0000000001'];

describe('the queue of a key', () => {
  it.each([
    ['behind its greatest', AROUND_THE_WRAP],
    ['from below zero', AROUND_ZERO],
  ])('keeps the order of coming where the counter goes on %s', (_where, names) => {
    const queue = queueOf([...names].reverse());
    expect(queue.map(({ token }) => token)).toEqual(['a', 'b', 'c', 'd']);
    const blockers = queue.map((own) => blockersOf(queue, own).map(({ token }) => token));
    expect(blockers).toEqual([[], ['a'], ['b'], ['c']]);
  });
});
