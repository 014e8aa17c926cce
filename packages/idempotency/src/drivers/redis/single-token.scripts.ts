import type { RedisConnection, ScriptDefinition } from '@lockstep/redis';

/** The one token of a slot, both as hashes. */
export interface SingleToken {
  readonly slot: string;
  readonly token: string;
}

export interface SingleTokenIssue extends SingleToken {
  readonly ttlMs: number;
}

const source = (name: string): URL => new URL(`./scripts/${name}.lua`, import.meta.url);

export function issueSingleScript(redis: RedisConnection): ScriptDefinition<SingleTokenIssue, void> {
  return {
    name: 'idempotency.issue-single',
    source: source('issue-single'),
    clock: 'lazy',
    keyCount: 1,
    argCount: 2,
    keys: ({ slot }) => [redis.key('idem-token', slot)],
    args: ({ token, ttlMs }) => [token, ttlMs],
    read: () => undefined,
  };
}

export function takeSingleScript(redis: RedisConnection): ScriptDefinition<SingleToken, boolean> {
  return {
    name: 'idempotency.take-single',
    source: source('take-single'),
    clock: 'lazy',
    keyCount: 1,
    argCount: 1,
    keys: ({ slot }) => [redis.key('idem-token', slot)],
    args: ({ token }) => [token],
    read: (reply) => reply === 1,
  };
}
