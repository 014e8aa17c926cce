import type { Incidents } from '@lockstep/core';
import { PERSISTENT, tolerating, ZK } from './zookeeper-connection.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

const IDLE_MS = 1_000;
const MOST_IDLE = 500;

/**
 * The persistent nodes below which the queues of the keys lie. ZooKeeper keeps them for ever, so each is removed once
 * nobody of this store has used it for a second; whoever uses it elsewhere keeps it by a node in it, or makes it anew.
 */
export class LockParents {
  private readonly users = new Map<string, number>();
  /** In the order of becoming idle. */
  private readonly idle = new Set<string>();
  /** Those that are there, as far as this store knows: used or idle. */
  private readonly present = new Set<string>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly root: string,
    private readonly session: () => ZooKeeperSession | undefined,
    private readonly incidents: Incidents,
  ) {}

  enter(path: string): void {
    this.users.set(path, (this.users.get(path) ?? 0) + 1);
    this.idle.delete(path);
  }

  leave(path: string): void {
    const left = (this.users.get(path) ?? 1) - 1;
    if (left > 0) {
      this.users.set(path, left);
      return;
    }
    this.users.delete(path);
    this.idle.add(path);
    if (this.idle.size > MOST_IDLE) void this.sweep(this.idle.size - MOST_IDLE);
    this.arm();
  }

  /** As {@link leave}, when a node below it will have gone with its session. */
  leaveAfter(ms: number, path: string): void {
    setTimeout(() => this.leave(path), ms).unref();
  }

  /**
   * Sends the making of the node of a key ahead of what needs it, unless it is known to be there. What comes next tells
   * whether it is there.
   */
  foresee(session: ZooKeeperSession, path: string): void {
    if (this.present.has(path)) return;
    this.makeOne(session, path).then(
      (isMade) => isMade && this.users.has(path) && this.present.add(path),
      () => undefined,
    );
  }

  /** Makes the node of a key, and those above it where they are not there yet. */
  async make(session: ZooKeeperSession, path: string): Promise<void> {
    this.present.delete(path);
    if (await this.makeOne(session, path)) return;
    const above = path.split('/').slice(1, -1);
    for (let depth = 1; depth <= above.length; depth += 1) {
      await this.makeOne(session, `/${above.slice(0, depth).join('/')}`);
    }
    await this.makeOne(session, path);
  }

  makeRoot(session: ZooKeeperSession): Promise<void> {
    return this.make(session, this.root);
  }

  async close(): Promise<void> {
    clearTimeout(this.timer);
    await this.sweep(this.idle.size);
  }

  /** Whether it is there now; false when the one above it is missing. */
  private async makeOne(session: ZooKeeperSession, path: string): Promise<boolean> {
    const made = session.connection.create(path, '', PERSISTENT);
    const outcome = await tolerating(
      [ZK.noNode],
      tolerating([ZK.nodeExists], made).then(() => true),
    );
    return outcome ?? false;
  }

  private arm(): void {
    if (this.timer) return;
    const since = new Set(this.idle);
    this.timer = setTimeout(() => void this.beat(since), IDLE_MS).unref();
  }

  /** Removes what has been idle since the last beat, and is idle still. */
  private async beat(since: ReadonlySet<string>): Promise<void> {
    this.timer = undefined;
    let count = 0;
    for (const path of this.idle) {
      if (!since.has(path)) break;
      count += 1;
    }
    await this.sweep(count);
    if (this.idle.size > 0) this.arm();
  }

  private async sweep(count: number): Promise<void> {
    const session = this.session();
    if (!session) return; // they stay idle, and are removed once there is a session again
    const paths = [...this.idle].slice(0, count);
    for (const path of paths) {
      this.idle.delete(path);
      this.present.delete(path);
    }
    await Promise.all(paths.map((path) => this.remove(session, path)));
  }

  private async remove(session: ZooKeeperSession, path: string): Promise<void> {
    try {
      // Not empty: another process uses it, and the last one to leave removes it.
      await tolerating([ZK.noNode, ZK.notEmpty], session.connection.remove(path));
    } catch (cause) {
      if (!this.users.has(path)) this.idle.add(path);
      const message = 'an empty node could not be removed; it is tried again';
      this.incidents.report({ code: 'LOCK_NODE_NOT_REMOVED', source: 'lock.zookeeper', message, cause });
    }
  }
}
