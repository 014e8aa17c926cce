import type { Event } from 'node-zookeeper-client';
import { type NodeContent, tolerating, ZK, type ZooKeeperConnection } from './zookeeper-connection.js';

const NODE_DELETED = 2;

type Listener = (isGone: boolean) => void;

interface Watch {
  readonly listeners: Set<Listener>;
  readonly fire: (event: Event) => void;
  isArmed: boolean;
}

/**
 * The watches of a session: at most one on each node, however many wait for it and however often, and none on a node
 * that is not there. A watch that nobody waits for any more ends with its node.
 */
export class NodeWatches {
  private readonly watches = new Map<string, Watch>();

  constructor(private readonly connection: ZooKeeperConnection) {}

  /**
   * Calls the listener at the next change of the node.
   * @returns false when there is no such node
   */
  async listen(path: string, listener: Listener): Promise<boolean> {
    const watch = this.of(path);
    watch.listeners.add(listener);
    // The event of an armed watch has not come yet, so the node was there as far as this session can know.
    if (watch.isArmed) return true;
    return (await this.arm(path, watch)) !== undefined;
  }

  /** As {@link listen}, and what the node holds now. */
  async read(path: string, listener: Listener): Promise<NodeContent | undefined> {
    const watch = this.of(path);
    watch.listeners.add(listener);
    return this.arm(path, watch);
  }

  forget(path: string, listener: Listener): void {
    const watch = this.watches.get(path);
    watch?.listeners.delete(listener);
    if (watch && !watch.isArmed && watch.listeners.size === 0) this.watches.delete(path);
  }

  clear(): void {
    this.watches.clear();
  }

  private async arm(path: string, watch: Watch): Promise<NodeContent | undefined> {
    const content = await tolerating([ZK.noNode], this.connection.read(path, watch.fire));
    const isCurrent = this.watches.get(path) === watch;
    if (content) watch.isArmed = isCurrent;
    else if (isCurrent) this.watches.delete(path);
    return content;
  }

  private of(path: string): Watch {
    const known = this.watches.get(path);
    if (known) return known;
    const watch: Watch = { listeners: new Set(), isArmed: false, fire: (event) => this.fire(path, watch, event) };
    this.watches.set(path, watch);
    return watch;
  }

  private fire(path: string, watch: Watch, event: Event): void {
    if (this.watches.get(path) === watch) this.watches.delete(path);
    for (const listener of [...watch.listeners]) listener(event.getType() === NODE_DELETED);
  }
}
