import { LockModule } from '@lockstep/lock';
import { redlockStore } from '@lockstep/lock/redlock';
import type { RowPlan } from '../harness/bench-run.js';
import { type LockLibrary, uncontended } from './locker.js';
import { application, serviceLocker } from './ours.js';
import { redlockPeers } from './peers.js';
import { rawQuorum } from './raw.js';

const CONCURRENCY = 64;

/** Without fences, like the peers and raw: those cost a second fan-out. */
const ourRedlock: LockLibrary = {
  name: 'ours',
  open: async (urls, patienceMs) => {
    const store = redlockStore({ nodes: urls.map((url) => ({ url })), namespace: 'bench' });
    const module = LockModule.forRoot({ store });
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
