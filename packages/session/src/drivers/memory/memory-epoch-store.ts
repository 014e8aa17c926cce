import type { EpochStore } from '../../epoch-store.js';

export interface MemoryEpochStoreOptions {
  /** Clock in epoch milliseconds. @default a clock of this process that never steps */
  readonly nowMs?: () => number;
}

interface Epoch {
  readonly value: number;
  readonly endsAt: number;
}

const PURGE_EVERY_BUMPS = 256;

/** Revocation epochs in the memory of this process: right for one process and for tests, gone with a restart. */
export class MemoryEpochStore implements EpochStore {
  private readonly epochs = new Map<string, Epoch>();
  private readonly nowMs: () => number;
  private bumps = 0;

  constructor(options: MemoryEpochStoreOptions = {}) {
    this.nowMs = options.nowMs ?? (() => performance.timeOrigin + performance.now());
  }

  async read(group: string): Promise<number> {
    return this.live(group)?.value ?? 0;
  }

  async bump(group: string, ttlMs: number): Promise<number> {
    const now = this.nowMs();
    this.purge(now);
    const value = Math.max((this.live(group)?.value ?? 0) + 1, Math.floor(now * 1_000));
    this.epochs.set(group, { value, endsAt: now + ttlMs });
    return value;
  }

  private live(group: string): Epoch | undefined {
    const epoch = this.epochs.get(group);
    return epoch && epoch.endsAt > this.nowMs() ? epoch : undefined;
  }

  private purge(now: number): void {
    this.bumps += 1;
    if (this.bumps % PURGE_EVERY_BUMPS !== 0) return;
    for (const [group, { endsAt }] of this.epochs) if (endsAt <= now) this.epochs.delete(group);
  }
}
