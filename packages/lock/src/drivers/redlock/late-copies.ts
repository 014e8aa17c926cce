import { monotonicMs } from '@lockstep/core';
import type { RedlockNode } from './redlock-node.js';

interface LateCopy {
  /** Time of the node from which on the request is refused. */
  readonly notAfterMs: number;
  /** Local monotonic time at which that has long been so. */
  readonly forgetAt: number;
}

const SPARE_MS = 60_000;

/**
 * Requests of granted tokens whose answer was lost: they may still be executed, also after the release, which then must
 * be repeated. What an answer was lost of is known before the answer to any later request to that node.
 */
export class LateCopies {
  private readonly tokens = new Map<string, Map<RedlockNode, LateCopy>>();

  note(token: string, node: RedlockNode, notAfterMs: number): void {
    this.prune();
    const copies = this.tokens.get(token) ?? new Map<RedlockNode, LateCopy>();
    this.tokens.set(token, copies);
    copies.set(node, { notAfterMs, forgetAt: monotonicMs() + node.connection.commandTimeoutMs + SPARE_MS });
  }

  /** Time of the node until which the token's release must be repeated there; 0 when once is enough. */
  take(token: string, node: RedlockNode): number {
    const copies = this.tokens.get(token);
    const copy = copies?.get(node);
    if (!copies || !copy) return 0;
    copies.delete(node);
    if (copies.size === 0) this.tokens.delete(token);
    return copy.notAfterMs;
  }

  /** Of leases that are never released nothing may stay behind. */
  private prune(): void {
    const now = monotonicMs();
    for (const [token, copies] of this.tokens) {
      for (const [node, { forgetAt }] of copies) if (forgetAt < now) copies.delete(node);
      if (copies.size === 0) this.tokens.delete(token);
    }
  }
}
