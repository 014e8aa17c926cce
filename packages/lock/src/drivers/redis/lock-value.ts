import type { LockHolder, LockState } from '../../lock-store.js';

const VALUE = /^([^|]*)\|(\d+)\|(\d+)\|([^|]*)\|([^|]*)\|/;

/** What `scripts/lock-state.lua` keeps for a lock, read for people. */
export function readLockState(value: unknown, serverMs: number): LockState {
  const parts = typeof value === 'string' ? VALUE.exec(value) : null;
  if (!parts) return { holders: [], fence: undefined, waiters: 0 };
  const [, owner = '', fence = '0', leaseEnd = '0', sharers = '', queue = ''] = parts;
  const all: LockHolder[] =
    owner === '*'
      ? records(sharers).map(([token = '', end]) => ({ token, remainingMs: Number(end) - serverMs }))
      : [{ token: owner, remainingMs: Number(leaseEnd) - serverMs }];
  const holders = all.filter(({ token, remainingMs = 0 }) => token !== '' && remainingMs > 0);
  const waiters = records(queue).filter(([, , giveUp]) => Number(giveUp) > serverMs).length;
  return { holders, fence: BigInt(fence), waiters };
}

function records(list: string): string[][] {
  return list
    .split(';')
    .filter((record) => record !== '')
    .map((record) => record.split(','));
}
