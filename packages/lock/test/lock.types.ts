import type { Lease, LeaseSet, LockModule, LockService } from '@lockstep/lock';

export async function typesOfCalls(locks: LockService, fenceless: LockService<undefined>): Promise<void> {
  const fence: bigint = (await locks.acquire('k')).fence;
  const none: undefined = (await fenceless.acquire('k')).fence;
  await locks.using('k', {}, async (lease: Lease) => lease.fence);
  await locks.using(['a', 'b'], {}, async (set: LeaseSet) => set.of('a').fence);
  await fenceless.using(['a'] as const, {}, async (set: LeaseSet<undefined>) => set.keys);
  const result: number = await locks.using('k', {}, async () => 1);
  await locks.acquireAll(['a'], { mode: { permits: 2 }, minHold: '1s', maxHold: 60_000, store: 'zk', wait: 0 });
  await locks.acquire('k', { mode: 'read', fairness: 'barging', reentrant: false, ttl: '5s' });
  void [fence, none, result];

  // @ts-expect-error one key gives one lease
  await locks.using('k', {}, async (set: LeaseSet) => set.keys);
  // @ts-expect-error several keys give a set
  await locks.using(['a'], {}, async (lease: Lease) => lease.fence);
  // @ts-expect-error work under a lock is asynchronous
  await locks.using('k', {}, () => 1);
  // @ts-expect-error there is no such mode
  await locks.acquire('k', { mode: 'shared' });
  // @ts-expect-error permits are a number
  await locks.acquire('k', { mode: { permits: '2' } });
  // @ts-expect-error there is no such order
  await locks.acquire('k', { fairness: 'lifo' });
  // @ts-expect-error a duration has a unit
  await locks.acquire('k', { maxHold: '5' });
  // @ts-expect-error of an inspection only the store can be said
  await locks.inspect('k', { ttl: '5s' });
}

export function typesOfModule(module: typeof LockModule): void {
  module.forRoot({ ttl: '5s', wait: 0, reentrant: true, fairness: 'fifo' });
  // @ts-expect-error what a lock is held for is for the call to say
  module.forRoot({ minHold: '5s' });
  // @ts-expect-error how it is held too
  module.forRoot({ mode: 'read' });
  // @ts-expect-error stores are drivers
  module.forRoot({ stores: { zk: 'zookeeper://' } });
}
