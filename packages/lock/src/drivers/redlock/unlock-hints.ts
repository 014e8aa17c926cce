import type { Incidents } from '@lockstep/core';
import type { RedlockNode } from './redlock-node.js';

/**
 * Hears from the nodes that a lock is released. Hints only: a waiter that misses one asks again at the end of the lease.
 * It wakes when a majority has told, or some time after the first: who asks earlier meets nodes that have not heard of
 * the release, and splits the vote.
 */
export class UnlockHints {
  private readonly told = new Set<RedlockNode>();
  private readonly subscriptions: Promise<() => Promise<void>>[] = [];
  private heard = 0;
  private grace: NodeJS.Timeout | undefined;
  private isWoken = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly nodes: readonly RedlockNode[],
    private readonly lock: string,
    private readonly graceMs: number,
    private readonly incidents: Incidents,
  ) {}

  /** Resolves when a majority of the nodes will tell, or all have been tried. */
  async subscribe(): Promise<void> {
    await new Promise<void>((resolve) => {
      let open = this.nodes.length;
      const done = (isHeard: boolean): void => {
        open -= 1;
        if (isHeard) this.heard += 1;
        if (open === 0 || this.isMajorityHeard) resolve();
      };
      for (const node of this.nodes) this.join(node, done);
    });
  }

  /** Whether a release will be heard of, as long as the connections stand. */
  get isMajorityHeard(): boolean {
    return this.heard * 2 > this.nodes.length;
  }

  /** Forgets what was told: from now on only news count. */
  clear(): void {
    clearTimeout(this.grace);
    this.grace = undefined;
    this.told.clear();
    this.isWoken = false;
  }

  /** Until woken since the last {@link clear}, or that time is over. */
  sleep(ms: number): Promise<void> {
    if (this.isWoken || ms <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  rouse(): void {
    this.isWoken = true;
    this.wake();
  }

  leave(): void {
    clearTimeout(this.grace);
    for (const subscription of this.subscriptions) {
      // A failed one was reported when it failed.
      subscription.then(
        (leave) => leave(),
        () => undefined,
      );
    }
  }

  private join(node: RedlockNode, done: (isHeard: boolean) => void): void {
    const hear = (): void => this.hear(node);
    const subscription = node.connection.subscribe(this.lock, hear, hear);
    this.subscriptions.push(subscription);
    subscription.then(
      () => done(true),
      (cause: unknown) => {
        this.incidents.report({
          code: 'REDLOCK_NODE_DEAF',
          source: 'lock.redlock',
          message: 'a waiter hears nothing of a node; the others tell, or it asks again in time',
          cause,
          fields: { node: node.name },
        });
        done(false);
      },
    );
  }

  private hear(node: RedlockNode): void {
    this.told.add(node);
    if (this.told.size * 2 > this.nodes.length) this.rouse();
    else this.grace ??= setTimeout(() => this.rouse(), this.graceMs);
  }
}
