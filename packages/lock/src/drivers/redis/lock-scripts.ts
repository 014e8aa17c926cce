import type { RedisConnection, RedisScript } from '@lockstep/redis';
import type { Busy } from '../../lock-store.js';
import { PUSH_CHANNEL } from './lock-pushes.js';

interface LockItem {
  /** The Redis key. */
  readonly lock: string;
  readonly token: string;
}

export interface AcquireItem extends LockItem {
  readonly ttlMs: number;
  /** Server time after which the request must be refused. */
  readonly notAfterMs: number;
  /** As `acquire.lua` reads it: '' to hold the lock alone without waiting. */
  readonly wish: string;
}

export interface ExtendItem extends LockItem {
  readonly ttlMs: number;
}

/** When the server answered, on its own clock in ms. */
interface Answered {
  readonly serverMs: number;
}

export type AcquireReply =
  | ({ readonly status: 'granted'; readonly fence: bigint } & Answered)
  | (Busy & Answered)
  | ({ readonly status: 'late' } & Answered);

export interface ReleaseReply {
  readonly isReleased: boolean;
  /** As above; 0 where it was not needed. */
  readonly serverMs: number;
}

export type ExtendReply = 'extended' | 'expired' | 'stolen';

export interface LockScripts {
  readonly acquire: RedisScript<AcquireItem, AcquireReply>;
  readonly extend: RedisScript<ExtendItem, ExtendReply>;
  readonly release: RedisScript<LockItem, ReleaseReply>;
  /** The same, and always says when. */
  readonly revoke: RedisScript<LockItem, ReleaseReply>;
}

/**
 * Lease of a grant that was pushed, until its holder confirms it: so long does the lock stand still when it was handed
 * to a process that hears and does not act.
 */
const CLAIM_MS = 2_000;

/**
 * The order matters: of what gathers in one tick, releases go first, so that a lock freed here can be granted here in
 * the same tick; then extensions, then acquisitions.
 */
export function lockScripts(connection: RedisConnection, fenceRetentionMs: number): LockScripts {
  const shared = {
    library: ['lock-state', 'lock-queue', 'lock-asking'].map(scriptFile),
    constants: {
      RETENTION_MS: fenceRetentionMs,
      CLAIM_MS,
      CHANNEL: `${connection.namespace}:${PUSH_CHANNEL}:`,
      // On a Cluster a message reaches all nodes, but its sender learns of the listeners on one node only.
      COUNTS_RECEIVERS: !connection.isCluster,
    },
    keyCount: 1,
    keys: (item: LockItem): readonly string[] => [item.lock],
  };
  const releasing = {
    ...shared,
    source: scriptFile('release'),
    argCount: 1,
    args: (item: LockItem): readonly string[] => [item.token],
    read: (reply: unknown, serverMs: number): ReleaseReply => ({ isReleased: reply === 1, serverMs }),
  };
  const lease = ({ ttlMs }: ExtendItem): readonly [number, number] => [ttlMs, ttlMs + fenceRetentionMs];
  const release = connection.script({ ...releasing, name: 'lock.release', clock: 'lazy' });
  const revoke = connection.script({ ...releasing, name: 'lock.revoke' });
  const extend = connection.script({
    ...shared,
    name: 'lock.extend',
    source: scriptFile('extend'),
    argCount: 1,
    sharedCount: 2,
    args: (item: ExtendItem) => [item.token],
    shared: lease,
    read: (reply): ExtendReply => (reply === 1 ? 'extended' : reply === 0 ? 'stolen' : 'expired'),
  });
  const acquire = connection.script({
    ...shared,
    name: 'lock.acquire',
    source: scriptFile('acquire'),
    argCount: 1,
    sharedCount: 4,
    args: (item: AcquireItem) => [item.token],
    shared: (item: AcquireItem) => [...lease(item), item.notAfterMs, item.wish],
    read: readAcquire,
  });
  return { acquire, extend, release, revoke };
}

function scriptFile(name: string): URL {
  return new URL(`./scripts/${name}.lua`, import.meta.url);
}

function readAcquire(reply: unknown, serverMs: number): AcquireReply {
  const code = Number(reply);
  if (code > 0) return { status: 'granted', fence: BigInt(code), serverMs };
  return code < 0 ? { status: 'busy', remainingMs: -code, serverMs } : { status: 'late', serverMs };
}
