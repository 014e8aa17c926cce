import { Inject, Injectable } from '@nestjs/common';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { DELAYED_SHARD, RELAY_SIGNAL, type RelaySignal } from '../relay-signal.js';

/** A relay in this process. */
export interface WakeableRelay {
  /** Something was committed in the shard. Says whether this relay owns it, so that no other needs to be told. */
  wake(shard: number): boolean;
  /** What has a delay is due in so many milliseconds; 0 where that is not known. */
  expect(inMs: number): void;
  /** Something may have been committed anywhere. */
  wakeAll(): void;
}

/**
 * Lets a commit wake the relay that owns the shard: the one in this process, else those in others through the signal. A
 * hint: the sweep finds what no hint told of.
 */
@Injectable()
export class RelayWakeUp {
  private readonly relays = new Set<WakeableRelay>();

  constructor(
    @Inject(RELAY_SIGNAL) private readonly signal: RelaySignal,
    @Inject(OUTBOX_OPTIONS) private readonly options: Pick<ResolvedOutboxOptions, 'sweepEveryMs'>,
  ) {}

  /** Returns the function that ends it. */
  subscribe(relay: WakeableRelay): () => void {
    this.relays.add(relay);
    return () => this.relays.delete(relay);
  }

  /** Hears what other processes announce, from when it resolves. Returns the function that ends it. */
  async listen(): Promise<() => Promise<void>> {
    const leave = await this.signal.subscribe((shards) => this.hear(shards));
    // What was committed before is not announced again.
    this.hear(undefined);
    return leave;
  }

  wake(shards: Iterable<number>): void {
    const unowned = [...shards].filter((shard) => !this.wakeHere(shard));
    if (unowned.length > 0) this.signal.announce(unowned);
  }

  /** Something was published that is due in so many milliseconds. */
  expect(inMs: number): void {
    for (const relay of this.relays) relay.expect(inMs);
    // Any relay puts it into the outbox; later than its next look, none needs to be told.
    if (this.relays.size === 0 && inMs < this.options.sweepEveryMs * 1.1) this.signal.announce([DELAYED_SHARD]);
  }

  private hear(shards: readonly number[] | undefined): void {
    for (const shard of shards ?? []) if (shard !== DELAYED_SHARD) this.wakeHere(shard);
    for (const relay of this.relays) {
      if (shards === undefined) relay.wakeAll();
      else if (shards.includes(DELAYED_SHARD)) relay.expect(0);
    }
  }

  private wakeHere(shard: number): boolean {
    let isOwned = false;
    for (const relay of this.relays) isOwned = relay.wake(shard) || isOwned;
    return isOwned;
  }
}
