import { Injectable } from '@nestjs/common';

/** Lets a commit in this process wake the relay in this process. A hint: the sweep finds what no hint told of. */
@Injectable()
export class RelayWakeUp {
  private readonly listeners = new Set<(shard: number) => void>();

  /** Returns the function that ends it. */
  subscribe(listener: (shard: number) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  wake(shards: Iterable<number>): void {
    for (const shard of shards) for (const listener of this.listeners) listener(shard);
  }
}
