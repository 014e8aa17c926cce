import { type Incidents, monotonicMs } from '@lockstep/core';
import type { ExtendRequest, ReleaseRequest } from '../../lock-store.js';
import type { LateCopies } from './late-copies.js';
import { isOutcomeUnknown } from './redlock.errors.js';
import type { RedlockNode } from './redlock-node.js';
import type { RedlockRevocations } from './redlock-revocations.js';
import type { AcquireReply, LockKeys } from './redlock-scripts.js';

/** The extensions of one lease that not every node has answered yet. */
interface OpenExtensions {
  /** Answers of nodes that are still to come, to extensions and to repairs. */
  pending: number;
  isReleased: boolean;
}

export interface RepairHost {
  readonly incidents: Incidents;
  readonly revocations: RedlockRevocations;
}

/**
 * Asks nodes that have forgotten their vote to vote again. Only once a majority has confirmed the lease: the node was
 * this holder's or nobody's, so no other can lose by it, and a lease outlives nodes that restart one after another.
 * It is a vote like any other (refused when late, taken back after the release), but never counts for the extension.
 *
 * ```
 * open --released--> released: nothing is repaired any more, and what a repair still got is taken back
 * open | released --every node has answered--> forgotten
 * ```
 */
export class VoteRepairs {
  private readonly leases = new Map<string, OpenExtensions>();

  constructor(
    private readonly host: RepairHost,
    private readonly lateCopies: LateCopies,
  ) {}

  /** An extension is sent; {@link settle} is to be called once for each of the nodes. */
  begin(request: ExtendRequest, nodes: number): void {
    const id = idOf(request);
    const lease = this.leases.get(id) ?? { pending: 0, isReleased: false };
    lease.pending += nodes;
    this.leases.set(id, lease);
  }

  settle(request: ExtendRequest): void {
    const id = idOf(request);
    const lease = this.leases.get(id);
    if (!lease) return;
    lease.pending -= 1;
    if (lease.pending === 0) this.leases.delete(id);
  }

  /** The lease is about to be given back. */
  noteReleased(request: ReleaseRequest): void {
    const lease = this.leases.get(idOf(request));
    if (lease) lease.isReleased = true;
  }

  /** To be called before the node's {@link settle}. */
  repair(node: RedlockNode, keys: LockKeys, request: ExtendRequest): void {
    if (this.isReleased(request)) return;
    const { token, ttlMs } = request;
    const withinMs = Math.min(ttlMs / 4, node.connection.commandTimeoutMs);
    const vote = { keys, vote: `${token}|0||`, ttlMs, awaitsPush: false, withinMs };
    const answer = (_index: number, { status }: AcquireReply): void => {
      // A release that is sent together with it goes first, and any overtakes a vote that waits for its node's check.
      if (status === 'voted' && this.isReleased(request)) this.revoke(node, keys, request, 0);
      this.settle(request);
    };
    const fail = (_index: number, cause: unknown): void => {
      this.failed(node, keys, request, withinMs, cause);
      this.settle(request);
    };
    this.begin(request, 1);
    node.vote(vote, { answer, fail }, 0);
  }

  private failed(node: RedlockNode, keys: LockKeys, request: ExtendRequest, withinMs: number, cause: unknown): void {
    if (isOutcomeUnknown(cause)) {
      const notAfterMs = node.notAfterMs(withinMs);
      if (this.isReleased(request)) this.revoke(node, keys, request, notAfterMs);
      else this.lateCopies.note(request.token, node, notAfterMs);
    }
    this.host.incidents.report({
      code: 'REDLOCK_NODE_NOT_REPAIRED',
      source: 'lock.redlock',
      message: 'a node has lost a lock and could not be told of it; the next extension tries again',
      cause,
      fields: { node: node.name },
    });
  }

  private revoke(node: RedlockNode, keys: LockKeys, { token, ttlMs }: ExtendRequest, notAfterMs: number): void {
    const uselessAt = monotonicMs() + node.connection.commandTimeoutMs + ttlMs;
    this.host.revocations.add({ node, keys, vote: `${token}|`, notAfterMs, uselessAt });
  }

  private isReleased(request: ExtendRequest): boolean {
    return this.leases.get(idOf(request))?.isReleased ?? false;
  }
}

function idOf({ key, token }: { readonly key: string; readonly token: string }): string {
  return `${token}\n${key}`;
}
