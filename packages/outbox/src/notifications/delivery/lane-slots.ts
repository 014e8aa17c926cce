import type { Lane } from '../notification-store.js';

/** The part of the slots that nobody has as a second one: who comes while others hang still finds one. */
const RESERVED_PART = 1 / 4;

/** How many attempts run, altogether and for each endpoint: those that are slow never take the slots of the others. */
export class LaneSlots {
  private readonly byEndpoint = new Map<string, number>();
  private readonly reserved: number;
  private total = 0;

  constructor(
    private readonly limit: number,
    private readonly limitPerEndpoint: number,
  ) {
    this.reserved = Math.floor(limit * RESERVED_PART);
  }

  /**
   * Deals the free slots out, one for each lane in turn: nobody gets a second one before all have one, and who fails gets
   * no second one at all. Lanes that get none are left out.
   */
  share(lanes: readonly Pick<Lane, 'endpoint' | 'isFailing'>[]): ReadonlyMap<string, number> {
    const shares = new Map<string, number>();
    let left = this.limit - this.total;
    for (let nth = 1; nth <= this.limitPerEndpoint; nth += 1) {
      const reserved = nth === 1 ? 0 : this.reserved;
      for (const { endpoint, isFailing } of lanes) {
        if (left <= reserved) break;
        if (this.taken(endpoint) >= nth || (isFailing && nth > 1)) continue;
        shares.set(endpoint, (shares.get(endpoint) ?? 0) + 1);
        left -= 1;
      }
    }
    return shares;
  }

  take(endpoint: string): void {
    this.total += 1;
    this.byEndpoint.set(endpoint, this.taken(endpoint) + 1);
  }

  giveBack(endpoint: string): void {
    this.total -= 1;
    const left = this.taken(endpoint) - 1;
    if (left > 0) this.byEndpoint.set(endpoint, left);
    else this.byEndpoint.delete(endpoint);
  }

  private taken(endpoint: string): number {
    return this.byEndpoint.get(endpoint) ?? 0;
  }
}
