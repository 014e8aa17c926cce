import type { RedisConnection, RedisScript, ScriptDefinition } from '@lockstep/redis';

interface FencedItem {
  /** The Redis key. */
  readonly key: string;
  readonly fence: bigint;
}

export interface FencedWrite extends FencedItem {
  readonly value: string;
  /** Undefined: the value stays. */
  readonly ttlMs: number | undefined;
}

/** Refused, with the greater fence; or done. */
export type FencedReply = { readonly seen: bigint } | { readonly value: string | undefined };

export interface FencedScripts {
  readonly read: RedisScript<FencedItem, FencedReply>;
  readonly write: RedisScript<FencedWrite, FencedReply>;
  readonly delete: RedisScript<FencedItem, FencedReply>;
}

/** Digits of the greatest fence, 2^63 - 1. */
const DIGITS = 19;

export function fencedScripts(connection: RedisConnection, retentionMs: number): FencedScripts {
  const common = (
    name: string,
    argCount: number,
  ): Omit<ScriptDefinition<FencedItem, FencedReply>, 'args' | 'read'> => ({
    name: `fenced.${name}`,
    source: new URL(`./scripts/fenced-${name}.lua`, import.meta.url),
    keyCount: 1,
    argCount,
    keys: ({ key }) => [key],
  });
  const head = ({ fence }: FencedItem): readonly (string | number)[] => [
    fence.toString().padStart(DIGITS, '0'),
    retentionMs,
  ];
  return {
    write: connection.script<FencedWrite, FencedReply>({
      ...common('write', 4),
      args: (item) => [...head(item), item.ttlMs ?? '-', item.value],
      read: readRefusal,
    }),
    delete: connection.script<FencedItem, FencedReply>({ ...common('delete', 2), args: head, read: readRefusal }),
    read: connection.script<FencedItem, FencedReply>({ ...common('read', 2), args: head, read: readValue }),
  };
}

function readRefusal(reply: unknown): FencedReply {
  if (reply === null) return { value: undefined };
  if (typeof reply === 'string') return { seen: BigInt(reply) };
  throw senseless(reply);
}

function readValue(reply: unknown): FencedReply {
  if (reply === null) return { value: undefined };
  if (typeof reply === 'string') return { value: reply };
  if (Array.isArray(reply)) return readRefusal(reply[0]);
  throw senseless(reply);
}

function senseless(reply: unknown): Error {
  return new Error(`a fenced value cannot be answered by ${JSON.stringify(reply)}`);
}
