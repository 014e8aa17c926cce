import type { DriverProvider } from '@lockstep/core';
import { LockModule, type LockStore } from '@lockstep/lock';
import type { RowPlan } from '../harness/bench-run.js';
import { type LockLibrary, uncontended } from './locker.js';
import { application, serviceLocker } from './ours.js';
import { redlockPeers } from './peers.js';
import { rawQuorum } from './raw.js';

const CONCURRENCY = 64;

interface RedlockDriver {
  redlockStore(options: { urls: readonly string[]; fencing: false }): DriverProvider<LockStore>;
}

/** Without fences, like the peers and raw: those cost a second fan-out. */
const ourRedlock: LockLibrary = {
  name: 'ours',
  open: async (urls, patienceMs) => {
    // Named in a variable, for as long as the package has no such entry.
    const entry: string = '@lockstep/lock/redlock';
    const { redlockStore } = (await import(entry)) as RedlockDriver;
    const module = LockModule.forRoot({ store: redlockStore({ urls, fencing: false }) });
    return serviceLocker(await application([module]), patienceMs);
  },
};

export function redlockRow(urls: readonly string[]): RowPlan {
  const contestant = (library: LockLibrary) => uncontended(library, urls, CONCURRENCY);
  return {
    name: `redlock${urls.length}-${CONCURRENCY}`,
    unit: 'acquire+release/s',
    ours: contestant(ourRedlock),
    raw: contestant(rawQuorum),
    peers: redlockPeers.map(contestant),
  };
}
