import { DrainService, type DriverProvider, Incidents, monotonicMs } from '@lockstep/core';
import type {
  AcquireRequest,
  Busy,
  ExtendOutcome,
  ExtendRequest,
  Grant,
  LockState,
  LockStore,
  ReleaseOutcome,
  ReleaseRequest,
} from '../../lock-store.js';
import { DurableFencing, type Fencing, unfenced } from './fencing.js';
import { inspectVotes } from './inspect-votes.js';
import { LateCopies } from './late-copies.js';
import { YesNoPoll } from './poll.js';
import { noMajority } from './redlock.errors.js';
import { type AcquisitionHost, RedlockAcquisition } from './redlock-acquisition.js';
import { RedlockNode } from './redlock-node.js';
import { type RedlockStoreOptions, type ResolvedRedlockOptions, resolveRedlockOptions } from './redlock-options.js';
import { type RedlockRevocations, redlockRevocations } from './redlock-revocations.js';
import type { LockKeys, ReleaseReply } from './redlock-scripts.js';
import { VoteRepairs } from './vote-repairs.js';

/**
 * Locks on an odd number of independent Redis masters: a lock is held by whom a majority of them votes for, so it
 * survives the loss of the others.
 *
 * @throws ConfigurationError naming the option and its value
 */
export function redlockStore(
  options: RedlockStoreOptions & { readonly fencing: 'durable-nodes' },
): DriverProvider<LockStore<bigint>>;
export function redlockStore(
  options: RedlockStoreOptions & { readonly fencing?: false },
): DriverProvider<LockStore<undefined>>;
export function redlockStore(options: RedlockStoreOptions): DriverProvider<LockStore<bigint | undefined>> {
  const resolved = resolveRedlockOptions(options);
  return {
    inject: [Incidents, DrainService],
    useFactory: async (incidents: Incidents, drain: DrainService) => {
      const nodes = await openNodes(resolved, incidents);
      const close = async (): Promise<void> => {
        await Promise.all(nodes.map(({ connection }) => connection.close()));
      };
      drain.register({ name: 'redlock connections', phase: 'connections', drain: close });
      if (resolved.fenceRetentionMs === undefined) return new RedlockStore(nodes, resolved, incidents, unfenced);
      return new RedlockStore(nodes, resolved, incidents, new DurableFencing(nodes));
    },
  };
}

function openNodes(options: ResolvedRedlockOptions, incidents: Incidents): Promise<RedlockNode[]> {
  const { nodes, fenceRetentionMs } = options;
  return Promise.all(nodes.map((node, index) => RedlockNode.open(node, index + 1, incidents, fenceRetentionMs)));
}

/** One fan-out for each operation, resolved by a majority; what gathers in a tick travels as one command a node. */
export class RedlockStore<Fence extends bigint | undefined> implements LockStore<Fence> {
  readonly name = 'redlock';
  readonly abilities = { expires: true, shares: 'none', queues: false } as const;
  private readonly revocations: RedlockRevocations;
  private readonly lateCopies = new LateCopies();
  private readonly repairs: VoteRepairs;
  private readonly host: AcquisitionHost<Fence>;
  private readonly isFenced: boolean;

  constructor(
    readonly nodes: readonly RedlockNode[],
    { retryDelayMs, fenceRetentionMs }: ResolvedRedlockOptions,
    incidents: Incidents,
    fencing: Fencing<Fence>,
  ) {
    this.isFenced = fenceRetentionMs !== undefined;
    this.revocations = redlockRevocations(incidents);
    const { revocations, lateCopies } = this;
    const commandTimeoutMs = Math.max(...nodes.map(({ connection }) => connection.commandTimeoutMs));
    const noteLateCopy = lateCopies.note.bind(lateCopies);
    const running = new Set<{ giveUp(): void }>();
    this.host = { nodes, commandTimeoutMs, retryDelayMs, fencing, revocations, incidents, running, noteLateCopy };
    this.repairs = new VoteRepairs(this.host, lateCopies);
  }

  acquire(request: AcquireRequest): Promise<Grant<Fence> | Busy> {
    const { signal } = request;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const acquisition = new RedlockAcquisition(this.keysOf(request.key), request, this.host);
    if (!signal) return acquisition.run();
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        acquisition.giveUp();
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      const settle = (conclude: () => void): void => {
        // In the same step: a signal that aborted later would take the votes of a holder back.
        signal.removeEventListener('abort', abort);
        conclude();
      };
      acquisition.run().then(
        (outcome) => settle(() => resolve(outcome)),
        (error: unknown) => settle(() => reject(error)),
      );
    });
  }

  async extend(requests: readonly ExtendRequest[]): Promise<readonly ExtendOutcome[]> {
    const sentAt = monotonicMs();
    return Promise.all(requests.map((request) => this.extendOne(request, sentAt)));
  }

  async release(requests: readonly ReleaseRequest[]): Promise<readonly ReleaseOutcome[]> {
    return Promise.all(requests.map((request) => this.releaseOne(request)));
  }

  inspect(key: string): Promise<LockState> {
    return inspectVotes(this.nodes, this.keysOf(key));
  }

  async close(): Promise<void> {
    for (const acquisition of this.host.running) acquisition.giveUp();
    await this.revocations.close();
  }

  private keysOf(key: string): LockKeys {
    const [node] = this.nodes;
    if (!node) throw new Error('there are no nodes');
    const lock = node.connection.key('redlock', key);
    return { lock: [lock], all: this.isFenced ? [lock, node.connection.key('redlock-fence', key)] : [lock] };
  }

  private async extendOne(request: ExtendRequest, sentAt: number): Promise<ExtendOutcome> {
    const { nodes } = this;
    const { key, token, ttlMs } = request;
    const keys = this.keysOf(key);
    const item = { keys, vote: `${token}|`, ttlMs };
    const poll = new YesNoPoll<'extended' | 'free' | 'stolen'>(nodes.length, (reply) => reply === 'extended');
    this.repairs.begin(request, nodes.length);
    for (const [index, { scripts }] of nodes.entries()) scripts.extend.call(item, poll, index);
    await poll.concluded;
    poll.forEachSettled((index) => {
      const node = nodes[index];
      if (node && poll.result && poll.replies[index] === 'free') this.repairs.repair(node, keys, request);
      this.repairs.settle(request);
    });
    if (poll.result === false) return { status: 'lost', cause: 'stolen' };
    if (poll.result === undefined) {
      return { status: 'failed', error: noMajority('lock.extend', nodes, poll.failures()) };
    }
    return { status: 'extended', deadline: sentAt + ttlMs };
  }

  private async releaseOne(request: ReleaseRequest): Promise<ReleaseOutcome> {
    const { nodes } = this;
    const { key, token, deadline } = request;
    this.repairs.noteReleased(request);
    const keys = this.keysOf(key);
    const vote = `${token}|`;
    const item = { keys, vote };
    const poll = new YesNoPoll<ReleaseReply>(nodes.length, ({ isReleased }) => isReleased);
    for (const [index, { scripts }] of nodes.entries()) scripts.release.call(item, poll, index);
    poll.forEachSettled((index) => {
      const node = nodes[index];
      if (!node) return;
      const notAfterMs = this.lateCopies.take(token, node);
      const reply = poll.replies[index];
      if (reply && reply.serverMs > notAfterMs) return;
      this.revocations.add({ node, keys, vote, notAfterMs, uselessAt: deadline });
    });
    await poll.concluded;
    if (poll.result === undefined) {
      return { status: 'failed', error: noMajority('lock.release', nodes, poll.failures()) };
    }
    return { status: poll.result ? 'released' : 'not-held' };
  }
}
