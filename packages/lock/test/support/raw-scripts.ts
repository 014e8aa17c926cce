import type { RedisConnection, RedisScript } from '@lockstep/redis';

const folder = new URL('../../src/drivers/redis/scripts/', import.meta.url);

export interface RawAcquire {
  readonly lock: string;
  readonly token: string;
  readonly notAfterMs: number;
}

const TTL_MS = 60_000;
const RETENTION_MS = 60_000;

const SHARED = {
  library: ['lock-state', 'lock-queue', 'lock-asking'].map((name) => new URL(`${name}.lua`, folder)),
  constants: { RETENTION_MS, CLAIM_MS: 2_000, CHANNEL: 'test:lock-push:', COUNTS_RECEIVERS: true },
};

/** The acquire script as a network would deliver it: at any time, any number of times. */
export function rawAcquire(redis: RedisConnection): RedisScript<RawAcquire, number> {
  return redis.script({
    ...SHARED,
    name: 'test.acquire',
    source: new URL('acquire.lua', folder),
    keyCount: 1,
    argCount: 5,
    keys: ({ lock }) => [lock],
    args: ({ token, notAfterMs }) => [token, TTL_MS, TTL_MS + RETENTION_MS, notAfterMs, ''],
    read: Number,
  });
}

/** The release script; resolves to the server's time. */
export function rawRelease(redis: RedisConnection): RedisScript<{ lock: string; token: string }, number> {
  return redis.script({
    ...SHARED,
    name: 'test.release',
    source: new URL('release.lua', folder),
    keyCount: 1,
    argCount: 1,
    keys: ({ lock }) => [lock],
    args: ({ token }) => [token],
    read: (_reply, serverMs) => serverMs,
  });
}

export interface RawQueue {
  readonly acquire: RedisScript<
    RawAcquire & { readonly wish: string },
    { readonly reply: number; readonly serverMs: number }
  >;
  readonly release: RedisScript<{ lock: string; token: string }, number>;
  /** What a process's name follows in the name of its channel. */
  readonly channel: string;
}

/** Both scripts with everything that a request may wish for. */
export function rawQueue(redis: RedisConnection): RawQueue {
  const channel = `${redis.namespace}:lock-push:`;
  const shared = { ...SHARED, constants: { ...SHARED.constants, CHANNEL: channel }, keyCount: 1 };
  const acquire = redis.script({
    ...shared,
    name: 'test.acquire',
    source: new URL('acquire.lua', folder),
    argCount: 5,
    keys: ({ lock }: RawAcquire & { readonly wish: string }) => [lock],
    args: ({ token, notAfterMs, wish }) => [token, TTL_MS, TTL_MS + RETENTION_MS, notAfterMs, wish],
    read: (reply, serverMs) => ({ reply: Number(reply), serverMs }),
  });
  const release = redis.script({
    ...shared,
    name: 'test.release',
    source: new URL('release.lua', folder),
    argCount: 1,
    keys: ({ lock }: { lock: string; token: string }) => [lock],
    args: ({ token }) => [token],
    read: (_reply, serverMs) => serverMs,
  });
  return { acquire, release, channel };
}
