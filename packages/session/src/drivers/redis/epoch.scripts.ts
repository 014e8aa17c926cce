import type { RedisConnection, ScriptDefinition } from '@lockstep/redis';

const source = (name: string): URL => new URL(`./scripts/${name}.lua`, import.meta.url);
const keyOf = (redis: RedisConnection, group: string): string => redis.key('session-epoch', group);

export function bumpEpochScript(redis: RedisConnection): ScriptDefinition<{ group: string; ttlMs: number }, number> {
  return {
    name: 'session.bump-epoch',
    source: source('bump-epoch'),
    keyCount: 1,
    argCount: 1,
    keys: ({ group }) => [keyOf(redis, group)],
    args: ({ ttlMs }) => [Math.ceil(ttlMs)],
    read: epochOf,
  };
}

export function readEpochScript(redis: RedisConnection): ScriptDefinition<{ group: string }, number> {
  return {
    name: 'session.read-epoch',
    source: source('read-epoch'),
    clock: 'lazy',
    keyCount: 1,
    argCount: 0,
    keys: ({ group }) => [keyOf(redis, group)],
    args: () => [],
    read: (reply) => (reply === null || reply === false ? 0 : epochOf(reply)),
  };
}

/** What is no epoch must not count as none: sessions that were ended would be good again. */
function epochOf(reply: unknown): number {
  const epoch = Number(reply);
  if (Number.isSafeInteger(epoch) && epoch > 0) return epoch;
  throw new TypeError(`A revocation epoch cannot be ${JSON.stringify(reply)}`);
}
