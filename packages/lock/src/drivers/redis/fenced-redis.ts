import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import { RedisConnection } from '@lockstep/redis';
import type { FactoryProvider } from '@nestjs/common';
import { FenceMisuseError, StaleFenceError } from '../../fence/fence.errors.js';
import { assertFence, assertResource } from '../../fence/fence.js';
import { type FencedReply, type FencedScripts, fencedScripts } from './fenced-scripts.js';

export interface FencedRedisOptions {
  /**
   * How long a key without a value remembers its fence: one that was read before it was written, deleted, or whose
   * value has expired. Longer than a holder may stand still and come back.
   * @default '1h'
   */
  readonly fenceRetention?: Duration;
}

export interface FencedWriteOptions {
  /**
   * Life of the value, at least 1 ms. Its fence outlives it.
   * @default none: the value stays until it is deleted
   */
  readonly ttl?: Duration;
}

/**
 * {@link FencedRedis} on the Redis of `RedisModule`, for `providers: [fencedRedis()]`.
 *
 * @throws ConfigurationError naming the option and its value; at boot, where `RedisModule` is not imported
 */
export function fencedRedis(options: FencedRedisOptions = {}): FactoryProvider<FencedRedis> {
  resolveRetention(options);
  return {
    provide: FencedRedis,
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: RedisConnection, optional: true }],
    useFactory: (connection: RedisConnection | undefined) => {
      if (connection) return new FencedRedis(connection, options);
      throw new ConfigurationError('fencedRedis() needs RedisModule.forRoot(…) among the imports.');
    },
  };
}

/**
 * Values that a holder whose lock has passed on can neither read nor change.
 *
 * Promise: once a call under a fence was accepted, every call under a smaller one is refused, and has changed nothing.
 * So a holder that reads, thinks and writes under its fence overwrites nobody's update, and one that only writes is
 * refused after its successor has so much as read. The same fence is accepted any number of times.
 *
 * Broken by: a key that was deleted or lost (a failover before its last writes were copied), `fenceRetention` being
 * shorter than a holder stands still, and one holder that runs two read-modify-writes of a key at once. A write whose
 * outcome is unknown may still arrive, after later ones of the same fence: only a greater one, of a lock taken anew,
 * keeps it out.
 *
 * One command for each call; calls of one tick travel together. Make one for a connection, not one for a call.
 */
export class FencedRedis {
  private readonly scripts: FencedScripts;

  constructor(
    private readonly connection: RedisConnection,
    options: FencedRedisOptions = {},
  ) {
    this.scripts = fencedScripts(connection, resolveRetention(options));
  }

  /**
   * The value, or undefined where there is none; from now on smaller fences are refused.
   *
   * @param key 1 to 512 characters, none of them a control character
   * @throws StaleFenceError when a greater fence has been here
   * @throws FenceMisuseError before anything is sent, when the fence or the key is none
   * @throws StoreUnavailableError when Redis does not answer
   */
  async read(key: string, fence: bigint): Promise<string | undefined> {
    return accepted(await this.scripts.read.run(this.item(key, fence)), key, fence);
  }

  /**
   * Replaces the value, whatever it is.
   *
   * @param value any text without halves of surrogate pairs, which Redis could not give back; bytes as base64
   * @throws as {@link read}; nothing is written when it is a StaleFenceError
   */
  async write(key: string, value: string, fence: bigint, options: FencedWriteOptions = {}): Promise<void> {
    const item = this.item(key, fence);
    assertValue(value);
    const ttlMs = options.ttl === undefined ? undefined : durationMs(options.ttl, 'ttl', { minMs: 1 });
    accepted(await this.scripts.write.run({ ...item, value, ttlMs }), key, fence);
  }

  /** Removes the value and keeps the fence. @throws as {@link read} */
  async delete(key: string, fence: bigint): Promise<void> {
    accepted(await this.scripts.delete.run(this.item(key, fence)), key, fence);
  }

  private item(key: string, fence: bigint): { readonly key: string; readonly fence: bigint } {
    assertResource(key);
    assertFence(fence);
    return { key: this.connection.key('fenced', key), fence };
  }
}

function accepted(reply: FencedReply, key: string, fence: bigint): string | undefined {
  if ('seen' in reply) throw new StaleFenceError(fence, reply.seen, key);
  return reply.value;
}

function assertValue(value: unknown): void {
  if (typeof value !== 'string') throw new FenceMisuseError(`A fenced value is a string, not a ${typeof value}.`);
  if (/\p{Surrogate}/u.test(value)) {
    throw new FenceMisuseError(
      'A fenced value has half of a surrogate pair, which would come back as another character.',
    );
  }
}

function resolveRetention({ fenceRetention = '1h' }: FencedRedisOptions): number {
  return durationMs(fenceRetention, 'fenceRetention', { minMs: 1_000 });
}
