import type { RedisConnection, RedisScript } from '@lockstep/redis';
import type { TermsRequest, VoteTerms } from './vote-terms.js';

/** The Redis keys of a lock, as every script takes them; made once for all nodes. */
export interface LockKeys {
  readonly lock: readonly [string];
  /** With the fence counter, where there are fences. */
  readonly all: readonly string[];
}

interface VoteItem {
  readonly keys: LockKeys;
  /** The vote, or its beginning: `token|` is every vote of a token, `token|round|` that of one round. */
  readonly vote: string;
}

/** A wish for a node's vote; the node adds until when it may be granted, by its own clock. */
export interface VoteRequest extends TermsRequest {
  readonly keys: LockKeys;
  /** `token|round||`, without a fence. */
  readonly vote: string;
}

export interface RaiseItem extends VoteItem {
  readonly fence: bigint;
}

export interface ExtendItem extends VoteItem {
  readonly ttlMs: number;
}

/** What one node says to a request for its vote. `fence` is 0 without fencing. */
export type AcquireReply =
  | { readonly status: 'voted'; readonly fence: bigint }
  | { readonly status: 'busy'; readonly owner: string; readonly remainingMs: number }
  | { readonly status: 'late' };

export interface ReleaseReply {
  readonly isReleased: boolean;
  /** The node's clock at the release, in milliseconds. */
  readonly serverMs: number;
}

/** Whose a node's vote is, as `inspect` found it; nobody's with an empty token. */
export interface Vote {
  readonly token: string;
  readonly fence: bigint | undefined;
  readonly remainingMs: number;
}

export interface NodeScripts {
  readonly acquire: RedisScript<VoteRequest, AcquireReply>;
  readonly extend: RedisScript<ExtendItem, 'extended' | 'free' | 'stolen'>;
  readonly release: RedisScript<VoteItem, ReleaseReply>;
  readonly raise: RedisScript<RaiseItem, boolean>;
  readonly inspect: RedisScript<LockKeys, Vote>;
}

const VOTED: AcquireReply = { status: 'voted', fence: 0n };
const NOBODY: Vote = { token: '', fence: undefined, remainingMs: 0 };
const LATE: AcquireReply = { status: 'late' };
const STORED_VOTE = /^([^|]*)\|\d+\|(\d*)\|w?$/;

/**
 * The order matters: of what gathers in one tick, releases go first, so that a vote freed here can be given here in the
 * same tick; acquisitions go last.
 *
 * @param fenceRetentionMs undefined without fencing
 */
export function nodeScripts(
  connection: RedisConnection,
  terms: VoteTerms,
  fenceRetentionMs: number | undefined,
): NodeScripts {
  const keys = (item: VoteItem): readonly string[] => item.keys.lock;
  const release = connection.script({
    name: 'redlock.release',
    source: sourceOf('release'),
    keyCount: 1,
    argCount: 1,
    keys,
    args: (item: VoteItem) => [item.vote],
    read: (reply, serverMs) => ({ isReleased: reply === 1, serverMs }),
  });
  const extend = connection.script({
    name: 'redlock.extend',
    source: sourceOf('extend'),
    keyCount: 1,
    argCount: 2,
    keys,
    args: (item: ExtendItem) => [item.vote, item.ttlMs],
    read: (reply) => (reply === 1 ? 'extended' : reply === 0 ? 'free' : 'stolen'),
  });
  const raise = raiseScript(connection, fenceRetentionMs ?? 0);
  const acquire =
    fenceRetentionMs === undefined
      ? plainAcquire(connection, terms)
      : fencedAcquire(connection, terms, fenceRetentionMs);
  const inspect = connection.script({
    name: 'redlock.inspect',
    source: sourceOf('inspect'),
    keyCount: 1,
    argCount: 0,
    keys: ({ lock }: LockKeys) => lock,
    args: () => [],
    read: readVote,
  });
  return { acquire, extend, release, raise, inspect };
}

function sourceOf(name: string): URL {
  return new URL(`./scripts/${name}.lua`, import.meta.url);
}

function plainAcquire(connection: RedisConnection, terms: VoteTerms): NodeScripts['acquire'] {
  return connection.script({
    name: 'redlock.acquire',
    source: sourceOf('acquire'),
    keyCount: 1,
    argCount: 2,
    keys: (request: VoteRequest) => request.keys.lock,
    args: (request: VoteRequest) => [request.vote, terms.of(request)],
    read: readAcquire,
  });
}

function fencedAcquire(
  connection: RedisConnection,
  terms: VoteTerms,
  fenceRetentionMs: number,
): NodeScripts['acquire'] {
  return connection.script({
    name: 'redlock.acquire-fenced',
    source: sourceOf('acquire-fenced'),
    keyCount: 2,
    argCount: 3,
    keys: (request: VoteRequest) => request.keys.all,
    args: (request: VoteRequest) => [request.vote, terms.of(request), fenceRetentionMs],
    read: readAcquire,
  });
}

function raiseScript(connection: RedisConnection, fenceRetentionMs: number): NodeScripts['raise'] {
  return connection.script({
    name: 'redlock.raise-fence',
    source: sourceOf('raise-fence'),
    keyCount: 2,
    argCount: 3,
    keys: (item: RaiseItem) => item.keys.all,
    args: ({ vote, fence }: RaiseItem) => [vote, fence.toString(), fenceRetentionMs],
    read: (reply) => reply === 1,
  });
}

function readAcquire(reply: unknown): AcquireReply {
  if (reply === 1) return VOTED;
  if (reply === 0) return LATE;
  if (typeof reply === 'number') return { status: 'voted', fence: BigInt(reply) };
  if (!Array.isArray(reply)) throw new Error(`no vote: ${JSON.stringify(reply)}`);
  return { status: 'busy', owner: String(reply[1]), remainingMs: Math.max(Number(reply[0]), 1) };
}

function readVote(reply: unknown): Vote {
  if (!Array.isArray(reply)) return NOBODY;
  const [, token, fence] = STORED_VOTE.exec(String(reply[0])) ?? [];
  if (token === undefined) throw new Error('not a lock');
  return { token, fence: fence ? BigInt(fence) : undefined, remainingMs: Math.max(Number(reply[1]), 0) };
}
