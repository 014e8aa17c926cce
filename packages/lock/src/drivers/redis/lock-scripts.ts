import type { RedisConnection, RedisScript } from '@lockstep/redis';
import type { Busy } from '../../lock-store.js';

interface LockItem {
  /** The Redis key. */
  readonly lock: string;
  readonly token: string;
}

export interface AcquireItem extends LockItem {
  readonly ttlMs: number;
  /** Server time after which the request must be refused. */
  readonly notAfterMs: number;
  readonly awaitsPush: boolean;
}

export interface ExtendItem extends LockItem {
  readonly ttlMs: number;
}

export type AcquireReply = { readonly status: 'granted'; readonly fence: bigint } | Busy | { readonly status: 'late' };

export interface ReleaseReply {
  readonly isReleased: boolean;
  /** The server's clock at the release, in milliseconds. */
  readonly serverMs: number;
}

export interface LockScripts {
  readonly acquire: RedisScript<AcquireItem, AcquireReply>;
  readonly extend: RedisScript<ExtendItem, 'extended' | 'expired' | 'stolen'>;
  readonly release: RedisScript<LockItem, ReleaseReply>;
}

/**
 * The order matters: of what gathers in one tick, releases go first, so that a lock freed here can be granted here in
 * the same tick; then extensions, then acquisitions.
 */
export function lockScripts(connection: RedisConnection, fenceRetentionMs: number): LockScripts {
  const source = (name: string): URL => new URL(`./scripts/${name}.lua`, import.meta.url);
  const keys = (item: LockItem): readonly string[] => [item.lock];
  const release = connection.script({
    name: 'lock.release',
    source: source('release'),
    keyCount: 1,
    argCount: 1,
    keys,
    args: (item: LockItem) => [item.token],
    read: (reply, serverMs) => ({ isReleased: reply === 1, serverMs }),
  });
  const extend = connection.script({
    name: 'lock.extend',
    source: source('extend'),
    keyCount: 1,
    argCount: 3,
    keys,
    args: (item: ExtendItem) => [item.token, item.ttlMs, item.ttlMs + fenceRetentionMs],
    read: (reply) => (reply === 1 ? 'extended' : reply === 0 ? 'stolen' : 'expired'),
  });
  const acquire = connection.script({
    name: 'lock.acquire',
    source: source('acquire'),
    keyCount: 1,
    argCount: 5,
    keys,
    args: (item: AcquireItem) => [
      item.token,
      item.ttlMs,
      item.notAfterMs,
      item.ttlMs + fenceRetentionMs,
      item.awaitsPush ? 1 : 0,
    ],
    read: readAcquire,
  });
  return { acquire, extend, release };
}

function readAcquire(reply: unknown): AcquireReply {
  const code = Number(reply);
  if (code > 0) return { status: 'granted', fence: BigInt(code) };
  return code < 0 ? { status: 'busy', remainingMs: -code } : { status: 'late' };
}
