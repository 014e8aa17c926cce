interface SingleToken {
  readonly token: string;
  readonly expiresAt: number;
}

const PURGE_EVERY_ISSUES = 256;

/** One token per slot, as `TokenStore` asks for. Those past their end are dropped on every 256th issue. */
export class SingleTokens {
  private readonly slots = new Map<string, SingleToken>();
  private issues = 0;

  get size(): number {
    return this.slots.size;
  }

  issue(slot: string, token: string, nowMs: number, ttlMs: number): void {
    this.issues += 1;
    if (this.issues % PURGE_EVERY_ISSUES === 0) this.purge(nowMs);
    this.slots.set(slot, { token, expiresAt: nowMs + ttlMs });
  }

  take(slot: string, token: string, nowMs: number): boolean {
    const held = this.slots.get(slot);
    if (held?.token !== token) return false;
    this.slots.delete(slot);
    return held.expiresAt > nowMs;
  }

  private purge(nowMs: number): void {
    for (const [slot, { expiresAt }] of this.slots) if (expiresAt <= nowMs) this.slots.delete(slot);
  }
}
