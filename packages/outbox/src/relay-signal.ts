/** Stands among the shards for what has a delay: something was published that is due before relays look by themselves. */
export const DELAYED_SHARD = -1;

/** Where something may have to be done; undefined when announcements may have been missed, which is: anywhere. */
export type RelaySignalListener = (shards: readonly number[] | undefined) => void;

/**
 * Port: lets a commit in one process wake the relays in others. A hint and nothing more: relays look by themselves every
 * `sweepEvery`, so what is lost here is late and not lost.
 *
 * Contract:
 * - `announce` returns at once, never throws, and reports what it could not send. It is called after the commit, and
 *   sends nothing inside of anybody's transaction. Announcements that follow each other closely may travel as one.
 * - `subscribe` resolves when announcements of other processes are heard from then on, those of this process need not be.
 *   It rejects with `StoreUnavailableError` when that cannot be had now, and is called again then. After an outage the
 *   listener is called with `undefined`.
 */
export interface RelaySignal {
  announce(shards: readonly number[]): void;
  subscribe(listener: RelaySignalListener): Promise<() => Promise<void>>;
}

export const RELAY_SIGNAL = Symbol('@lockstep/outbox:RELAY_SIGNAL');
