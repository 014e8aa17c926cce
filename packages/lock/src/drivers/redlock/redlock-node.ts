import type { Incidents } from '@lockstep/core';
import { RedisConnection, type RedisModuleOptions, type ScriptReceiver } from '@lockstep/redis';
import { DurabilityCheck } from './durability-check.js';
import { type AcquireReply, type NodeScripts, nodeScripts, type VoteRequest } from './redlock-scripts.js';
import { VoteTerms } from './vote-terms.js';

/** One of the masters. */
export class RedlockNode {
  readonly scripts: NodeScripts;
  private readonly durability: DurabilityCheck | undefined;
  private readonly terms: VoteTerms;

  /** @param fenceRetentionMs undefined without fencing */
  constructor(
    /** For messages: `node 2 (10.0.0.2:6379)`. */
    readonly name: string,
    readonly connection: RedisConnection,
    incidents: Incidents,
    fenceRetentionMs: number | undefined,
  ) {
    this.terms = new VoteTerms(connection);
    this.scripts = nodeScripts(connection, this.terms, fenceRetentionMs);
    if (fenceRetentionMs !== undefined) this.durability = new DurabilityCheck(name, connection, incidents);
  }

  static async open(
    options: RedisModuleOptions,
    number: number,
    incidents: Incidents,
    fenceRetentionMs: number | undefined,
  ): Promise<RedlockNode> {
    const connection = await RedisConnection.open(options, incidents);
    return new RedlockNode(`node ${number} (${addressOf(options)})`, connection, incidents, fenceRetentionMs);
  }

  /** Until when, by this node's clock, a request that is sent now may be executed. */
  notAfterMs(withinMs: number): number {
    return this.terms.notAfterMs(withinMs);
  }

  /**
   * Asks for the node's vote. The receiver gets a `ConfigurationError` when the node is not durable and has to be, and a
   * `StoreUnavailableError` when it does not answer.
   */
  vote(request: VoteRequest, receiver: ScriptReceiver<AcquireReply>, index: number): void {
    const { durability } = this;
    const { acquire } = this.scripts;
    if (!durability || durability.isPassed) {
      acquire.call(request, receiver, index);
      return;
    }
    durability.pass().then(
      () => acquire.call(request, receiver, index),
      (error: unknown) => receiver.fail(index, error),
    );
  }
}

function addressOf({ url, client }: RedisModuleOptions): string {
  if (url !== undefined) return new URL(url).host;
  const { host, port } = (client?.options ?? {}) as { host?: string; port?: number };
  return host === undefined ? 'client' : `${host}:${port ?? 6379}`;
}
