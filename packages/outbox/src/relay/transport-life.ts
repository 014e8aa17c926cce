import { monotonicMs } from '@lockstep/core';
import type { MessageRoute } from '../message-transport.js';

/** For how long an answer shows that the transport is there. */
const ANSWER_COUNTS_MS = 30_000;

/** What came of publishing to one route. */
export interface RouteOutcome {
  readonly route: MessageRoute;
  readonly answered: number;
  readonly away: readonly unknown[];
}

/**
 * Tells a route that alone is out of reach (its stream is full, its shard of a cluster has no master) from a transport
 * that is away as a whole: since the route began to fail, another one has answered, and not long ago.
 *
 * ```
 * route: working --does not answer--> failing --answers--> working
 *                                     failing, another one answers --> alone, until nobody has answered for a while
 * ```
 */
export class TransportLife {
  private answeredAtMs = Number.NEGATIVE_INFINITY;
  private readonly failingSinceMs = new Map<string, number>();

  note(outcomes: readonly RouteOutcome[]): void {
    const nowMs = monotonicMs();
    for (const { route, answered, away } of outcomes) {
      if (answered > 0) {
        this.answeredAtMs = nowMs;
        this.failingSinceMs.delete(nameOf(route));
      } else if (away.length > 0 && !this.failingSinceMs.has(nameOf(route))) {
        this.failingSinceMs.set(nameOf(route), nowMs);
      }
    }
  }

  /** Whether the route fails while the transport is there. */
  failsAlone(route: MessageRoute): boolean {
    const sinceMs = this.failingSinceMs.get(nameOf(route));
    if (sinceMs === undefined || monotonicMs() - this.answeredAtMs > ANSWER_COUNTS_MS) return false;
    return this.answeredAtMs >= sinceMs;
  }
}

function nameOf({ topic, consumer }: MessageRoute): string {
  return `${topic}/${consumer}`;
}
