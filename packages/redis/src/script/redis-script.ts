import { ConfigurationError, monotonicMs, type ServerClock } from '@lockstep/core';
import calculateSlot from 'cluster-key-slot';
import {
  commandError,
  isDemotion,
  isReplyError,
  isScriptFailure,
  isUnknownScript,
  itemError,
} from '../redis.errors.js';
import type { FlushTick } from './flush-tick.js';
import { ScriptBatch, type ScriptCall, type ScriptReceiver } from './script-batch.js';
import type { ScriptDefinition } from './script-definition.js';
import { loadScript, type ScriptSource } from './script-source.js';

const NOTHING: readonly (string | number)[] = [];

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
    return new Promise((resolve, reject) => this.call(item, new PromisedAnswer(resolve, reject), 0));
  }

  /**
   * As {@link run}, without a promise: for a caller that counts the answers of several servers, where one for each
   * answer would be most of the cost. The receiver must not throw.
   *
   * @throws ConfigurationError when the definition's keys or arguments are not as many as declared
   */
  call(item: Item, receiver: ScriptReceiver<Result>, index: number): void {
    this.waiting.push(this.encode(item, receiver, index));
    this.host.tick.request();
  }

  /**
   * Runs items one after another in one command that holds nothing else, so that a later one can depend on an earlier
   * one through a Lua local. On a Cluster all keys must lie in one slot. A promise for each item, in their order.
   *
   * @throws ConfigurationError for items that do not fit into one command
   */
  runTogether(items: readonly Item[]): readonly Promise<Result>[] {
    const calls: ScriptCall<Result>[] = [];
    const results = items.map(
      (item) =>
        new Promise<Result>((resolve, reject) => {
          calls.push(this.encode(item, new PromisedAnswer(resolve, reject), 0));
        }),
    );
    const [batch, ...others] = this.batches(calls);
    if (!batch || others.length > 0) {
      throw new ConfigurationError(`Redis script ${this.definition.name}: these items do not fit into one command.`);
    }
    this.together.push(batch);
    this.host.tick.request();
    return results;
  }

  /** Sends what has gathered. Called by the connection's {@link FlushTick}. */
  flush(): void {
    if (this.waiting.length > 0) {
      const calls = this.waiting;
      this.waiting = [];
      for (const batch of this.batches(calls)) this.send(batch);
    }
    if (this.together.length === 0) return;
    const together = this.together;
    this.together = [];
    for (const batch of together) this.send(batch);
  }

  private encode(item: Item, receiver: ScriptReceiver<Result>, index: number): ScriptCall<Result> {
    const { name, keyCount, argCount, sharedCount = 0 } = this.definition;
    const keys = this.definition.keys(item);
    const args = this.definition.args(item);
    const shared = this.definition.shared?.(item) ?? NOTHING;
    if (keys.length !== keyCount || args.length !== argCount || shared.length !== sharedCount) {
      throw new ConfigurationError(
        `Redis script ${name} takes ${keyCount} keys, ${argCount} arguments and ${sharedCount} shared ones, ` +
          `not ${keys.length}, ${args.length} and ${shared.length}.`,
      );
    }
    let size = 0;
    for (const key of keys) size += key.length;
    for (const arg of args) size += typeof arg === 'string' ? arg.length : 16;
    return { keys, args, shared, size, receiver, index };
  }

  private batches(calls: readonly ScriptCall<Result>[]): readonly ScriptBatch<Result>[] {
    const batches: ScriptBatch<Result>[] = [];
    let batch: ScriptBatch<Result> | undefined;
    for (const call of calls) {
      const slot = this.host.isCluster ? calculateSlot(call.keys[0] ?? '') : 0;
      // The latest of its kind: those before it are full.
      if (!batch?.suits(slot, call.shared)) batch = batches.findLast((one) => one.suits(slot, call.shared));
      if (!batch || batch.isTooFullFor(call)) {
        batch = new ScriptBatch(slot, call.shared);
        batches.push(batch);
      }
      batch.add(call);
    }
    return batches;
  }

  private send(batch: ScriptBatch<Result>): void {
    const { name } = this.definition;
    const sentAt = monotonicMs();
    this.host.tick.started();
    this.host.command(name, 'evalsha', batch.parameters(this.source.sha)).then(
      (reply) => this.end(batch, reply, sentAt),
      (error: unknown) => {
        if (!isUnknownScript(error)) return this.fail(batch, error);
        // A server that was restarted, or took over, has forgotten the script: then the text is sent once.
        return this.host.command(name, 'eval', batch.parameters(this.source.text)).then(
          (reply) => this.end(batch, reply, sentAt),
          (again: unknown) => this.fail(batch, again),
        );
      },
    );
  }

  private end(batch: ScriptBatch<Result>, reply: unknown, sentAt: number): void {
    this.host.tick.ended();
    try {
      this.settle(batch, reply, sentAt);
    } catch (error) {
      batch.fail(commandError(this.definition.name, error));
    }
  }

  private fail(batch: ScriptBatch<Result>, error: unknown): void {
    this.host.tick.ended();
    const isLoneItem = batch.calls.length === 1;
    if (isLoneItem && isDemotion(error)) this.host.reconnect();
    batch.fail(
      isLoneItem && isScriptFailure(error)
        ? itemError(this.definition.name, error)
        : commandError(this.definition.name, error),
    );
  }

  private settle({ calls }: ScriptBatch<Result>, reply: unknown, sentAt: number): void {
    if (!Array.isArray(reply)) {
      this.settleLone(calls, reply);
      return;
    }
    if (reply.length !== calls.length + 1) throw new Error(`expected ${calls.length} results, got ${reply.length - 1}`);
    const serverMs = Number(reply[0]) / 1_000;
    if (serverMs > 0) this.host.clock.sample(serverMs, sentAt, monotonicMs());
    let isDemoted = false;
    for (let index = 0; index < calls.length; index += 1) {
      const item: unknown = reply[index + 1];
      this.settleOne(calls[index] as ScriptCall<Result>, item, serverMs);
      isDemoted ||= typeof item === 'object' && isDemotion(item);
    }
    // The client looks at the reply as a whole; an item's own error it does not see.
    if (isDemoted) this.host.reconnect();
  }

  /** A lone item that did not read the clock. */
  private settleLone(calls: readonly ScriptCall<Result>[], reply: unknown): void {
    const [call] = calls;
    if (!call || calls.length > 1 || this.definition.clock !== 'lazy') {
      throw new Error(`expected ${calls.length} results, got ${JSON.stringify(reply)}`);
    }
    this.settleOne(call, reply, 0);
  }

  private settleOne({ receiver, index }: ScriptCall<Result>, reply: unknown, serverMs: number): void {
    if (typeof reply === 'object' && isReplyError(reply)) {
      receiver.fail(index, itemError(this.definition.name, reply));
      return;
    }
    let result: Result;
    try {
      result = this.definition.read(reply, serverMs);
    } catch (error) {
      receiver.fail(index, error);
      return;
    }
    receiver.answer(index, result);
  }
}

class PromisedAnswer<Result> implements ScriptReceiver<Result> {
  constructor(
    private readonly resolve: (result: Result) => void,
    private readonly reject: (error: unknown) => void,
  ) {}

  answer(_index: number, result: Result): void {
    this.resolve(result);
  }

  fail(_index: number, error: unknown): void {
    this.reject(error);
  }
}
