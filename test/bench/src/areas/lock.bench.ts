import { startRedis } from '@lockstep/testing';
import { type RowPlan, runBench } from '../harness/bench-run.js';
import { commandsPerOperation, withRequests } from '../lock/counting.js';
import { handoff } from '../lock/handoff.js';
import { idleWaiters } from '../lock/idle-waiters.js';
import { type LockLibrary, uncontended } from '../lock/locker.js';
import { ours } from '../lock/ours.js';
import { lockPeers } from '../lock/peers.js';
import { dealToken, rawLock, tokenRing } from '../lock/raw.js';
import { redlockRow } from '../lock/redlock5.js';
import { ideal, waiters } from '../lock/waiters.js';

const HANDOFF = { clients: 50, thinkMs: [75, 225], holdMs: 2 } as const;
const WAITERS = { waiters: 20, holdMs: 5 };
const IDLE = { waiters: 20, leaseMs: 60_000, watchedMs: 10_000 };

await runBench({
  name: 'lock',
  open: async () => {
    const redis = await startRedis();
    const { url } = redis;
    const nodes = await Promise.all(Array.from({ length: 5 }, () => startRedis()));
    const rows = [
      uncontendedRow(url, 1),
      uncontendedRow(url, 64),
      uncontendedRow(url, 256),
      redlockRow(nodes.map((node) => node.url)),
      handoffRow(url),
      waitersRow(url),
      idleRow(url),
    ];
    const close = async (): Promise<void> => {
      await Promise.all([redis, ...nodes].map((server) => server.stop()));
    };
    return { rows, close };
  },
});

function uncontendedRow(url: string, concurrency: number): RowPlan {
  const contestant = (library: LockLibrary) => uncontended(library, [url], concurrency);
  return {
    name: `uncontended-${concurrency}`,
    unit: 'acquire+release/s',
    ours: contestant(ours),
    raw: contestant(rawLock),
    peers: lockPeers.map(contestant),
    commandsPerOp: () => commandsPerOperation(url, uncontended(ours, [url], 1), 100),
  };
}

/** Every peer at its own pace of trying again, as it comes; p50 and p99 are those of waiting. */
function handoffRow(url: string): RowPlan {
  const contestant = (library: LockLibrary) => handoff(library, url, HANDOFF);
  return {
    name: `handoff-${HANDOFF.clients}`,
    unit: 'hand-offs/s',
    ours: contestant(ours),
    raw: handoff(tokenRing, url, HANDOFF, (key) => dealToken(url, key)),
    peers: lockPeers.map(contestant),
    sliceFactor: 5,
    commandsPerOp: () => commandsPerOperation(url, contestant(ours), 2000),
  };
}

/**
 * An operation is 20 callers served one after another: p50 is how long that takes, `requests` what it costs. Raw is the
 * sum of the holds, so the ratio is 100 ms divided by what it took.
 */
function waitersRow(url: string): RowPlan {
  const contestant = (library: LockLibrary) => waiters(library, url, WAITERS);
  return {
    name: `waiters-${WAITERS.waiters}`,
    unit: `rounds of ${WAITERS.waiters} waiters/s`,
    ours: withRequests(contestant(ours), url),
    raw: ideal(WAITERS),
    peers: lockPeers.map(contestant),
  };
}

function idleRow(url: string): RowPlan {
  const { waiters: clients, watchedMs } = IDLE;
  return {
    name: 'idle-waiters',
    unit: `commands of ${clients} waiters in ${watchedMs / 1000} s`,
    count: () => idleWaiters(url, IDLE),
  };
}
