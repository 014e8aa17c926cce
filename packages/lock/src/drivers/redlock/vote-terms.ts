import { monotonicMs } from '@lockstep/core';
import type { RedisConnection } from '@lockstep/redis';

/** What a vote is asked for with. */
export interface TermsRequest {
  readonly ttlMs: number;
  readonly awaitsPush: boolean;
  /** How old the request may be when the node executes it. */
  readonly withinMs: number;
}

/** The terms of one node's votes, by its own clock. Text, because requests of one millisecond share it. */
export class VoteTerms {
  private latest: TermsRequest & { readonly at: number; readonly text: string } = {
    at: -1,
    ttlMs: 0,
    withinMs: 0,
    awaitsPush: false,
    text: '',
  };

  constructor(private readonly connection: RedisConnection) {}

  /** Until when, by this node's clock, a request that is sent now may be executed. */
  notAfterMs(withinMs: number): number {
    const { connection } = this;
    const boundMs = Math.min(connection.serverTimeBoundMs(), connection.commandTimeoutMs);
    return Math.ceil(connection.serverTimeMs() + boundMs + withinMs);
  }

  /** `ttl|not after|w`, as the scripts take it. */
  of({ ttlMs, withinMs, awaitsPush }: TermsRequest): string {
    const { latest } = this;
    const at = Math.floor(monotonicMs());
    const isSame =
      latest.at === at && latest.ttlMs === ttlMs && latest.withinMs === withinMs && latest.awaitsPush === awaitsPush;
    if (isSame) return latest.text;
    const text = `${ttlMs}|${this.notAfterMs(withinMs)}|${awaitsPush ? 'w' : ''}`;
    this.latest = { at, ttlMs, withinMs, awaitsPush, text };
    return text;
  }
}
