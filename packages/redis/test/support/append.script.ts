import type { RedisConnection, RedisScript, ScriptDefinition } from '@lockstep/redis';

export interface AppendItem {
  readonly entity: string;
  readonly text: string;
}

export function appendDefinition(redis: RedisConnection): ScriptDefinition<AppendItem, unknown> {
  return {
    name: 'test.append',
    source: new URL('./scripts/append.lua', import.meta.url),
    keyCount: 1,
    argCount: 1,
    keys: ({ entity }) => [redis.key('append', entity)],
    args: ({ text }) => [text],
    read: (reply) => reply,
  };
}

export function appendScript(redis: RedisConnection): RedisScript<AppendItem, unknown> {
  return redis.script(appendDefinition(redis));
}
