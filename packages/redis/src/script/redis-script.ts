import { ConfigurationError, monotonicMs } from '@lockstep/core';
import calculateSlot from 'cluster-key-slot';
import { commandError, isDemotion, isReplyError, isUnknownScript, itemError } from '../redis.errors.js';
import type { ServerClock } from '../server-clock.js';
import type { FlushTick } from './flush-tick.js';
import { ScriptBatch, type ScriptCall } from './script-batch.js';
import type { ScriptDefinition } from './script-definition.js';
import { loadScript, type ScriptSource } from './script-source.js';

/** What a script needs of its connection. */
export interface ScriptHost {
  readonly isCluster: boolean;
  readonly tick: FlushTick;
  readonly clock: ServerClock;
  command(operation: string, command: string, args: (string | number)[]): Promise<unknown>;
  /** Looks for the master anew. */
  reconnect(): void;
}

/**
 * A Lua script whose concurrent calls travel as one EVALSHA (one for each hash slot on a Cluster, of at most 128 items
 * or 64 KiB), in the order in which they were made. Every call has its own result or error.
 */
export class RedisScript<Item, Result> {
  private readonly source: ScriptSource;
  private waiting: ScriptCall<Result>[] = [];
  private together: ScriptBatch<Result>[] = [];

  /** @throws ConfigurationError when the Lua function does not take what the definition declares */
  constructor(
    private readonly definition: ScriptDefinition<Item, Result>,
    private readonly host: ScriptHost,
  ) {
    this.source = loadScript(definition);
    host.tick.register(this);
  }

  /**
   * @throws StoreUnavailableError when Redis cannot be reached or does not answer in time
   * @throws RedisScriptError when the script raised an error for this item
   */
  run(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.waiting.push(this.encode(item, resolve, reject));
      this.host.tick.request();
    });
  }

  /**
   * Runs items one after another in one command that holds nothing else, so that a later one can depend on an earlier
   * one through a Lua local. On a Cluster all keys must lie in one slot. A promise for each item, in their order.
   *
   * @throws ConfigurationError for items that do not fit into one command
   */
  runTogether(items: readonly Item[]): readonly Promise<Result>[] {
    const batch = new ScriptBatch<Result>();
    const results = items.map(
      (item) =>
        new Promise<Result>((resolve, reject) => {
          const call = this.encode(item, resolve, reject);
          if (batch.isTooFullFor(call))
            throw new ConfigurationError(`${this.definition.name}: too many items at once.`);
          batch.add(call);
        }),
    );
    this.together.push(batch);
    this.host.tick.request();
    return results;
  }

  /** Sends what has gathered. Called by the connection's {@link FlushTick}. */
  flush(): void {
    if (this.waiting.length > 0) {
      const calls = this.waiting;
      this.waiting = [];
      for (const batch of this.batches(calls)) void this.send(batch);
    }
    if (this.together.length === 0) return;
    const together = this.together;
    this.together = [];
    for (const batch of together) void this.send(batch);
  }

  private encode(item: Item, resolve: (result: Result) => void, reject: (error: unknown) => void): ScriptCall<Result> {
    const { name, keyCount, argCount } = this.definition;
    const keys = this.definition.keys(item);
    const args = this.definition.args(item);
    if (keys.length !== keyCount || args.length !== argCount) {
      throw new ConfigurationError(
        `Redis script ${name} takes ${keyCount} keys and ${argCount} arguments, not ${keys.length} and ${args.length}.`,
      );
    }
    let size = 0;
    for (const key of keys) size += key.length;
    for (const arg of args) size += typeof arg === 'string' ? arg.length : 16;
    return { keys, args, size, resolve, reject };
  }

  private batches(calls: readonly ScriptCall<Result>[]): ScriptBatch<Result>[] {
    const batches: ScriptBatch<Result>[] = [];
    const open = new Map<number, ScriptBatch<Result>>();
    for (const call of calls) {
      const slot = this.host.isCluster ? calculateSlot(call.keys[0] ?? '') : 0;
      let batch = open.get(slot);
      if (!batch || batch.isTooFullFor(call)) {
        batch = new ScriptBatch();
        open.set(slot, batch);
        batches.push(batch);
      }
      batch.add(call);
    }
    return batches;
  }

  private async send(batch: ScriptBatch<Result>): Promise<void> {
    this.host.tick.started();
    const sentAt = monotonicMs();
    try {
      this.settle(batch, await this.evaluate(batch.parameters()), sentAt);
    } catch (error) {
      batch.fail(commandError(this.definition.name, error));
    } finally {
      this.host.tick.ended();
    }
  }

  /** A server that was restarted, or took over, has forgotten the script: then the text is sent once. */
  private async evaluate(parameters: (string | number)[]): Promise<unknown> {
    const { name } = this.definition;
    try {
      return await this.host.command(name, 'evalsha', [this.source.sha, ...parameters]);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      return this.host.command(name, 'eval', [this.source.text, ...parameters]);
    }
  }

  private settle({ calls }: ScriptBatch<Result>, reply: unknown, sentAt: number): void {
    const receivedAt = monotonicMs();
    if (!Array.isArray(reply) || reply.length !== calls.length + 1) {
      throw new Error(`expected ${calls.length} results, got ${JSON.stringify(reply)}`);
    }
    const serverMs = Number(reply[0]) / 1_000;
    this.host.clock.sample(serverMs, sentAt, receivedAt);
    for (const [index, call] of calls.entries()) this.settleOne(call, reply[index + 1], serverMs);
    // The client looks at the reply as a whole; an item's own error it does not see.
    if (reply.some(isDemotion)) this.host.reconnect();
  }

  private settleOne(call: ScriptCall<Result>, reply: unknown, serverMs: number): void {
    if (isReplyError(reply)) {
      call.reject(itemError(this.definition.name, reply));
      return;
    }
    try {
      call.resolve(this.definition.read(reply, serverMs));
    } catch (error) {
      call.reject(error);
    }
  }
}
