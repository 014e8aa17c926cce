/** How many attempts run, altogether and for each endpoint: one that is slow never takes the slots of the others. */
export class LaneSlots {
  private readonly byEndpoint = new Map<string, number>();
  private total = 0;

  constructor(
    private readonly limit: number,
    private readonly limitPerEndpoint: number,
  ) {}

  get isFull(): boolean {
    return this.total >= this.limit;
  }

  freeFor(endpoint: string): number {
    const own = this.limitPerEndpoint - (this.byEndpoint.get(endpoint) ?? 0);
    return Math.max(0, Math.min(own, this.limit - this.total));
  }

  take(endpoint: string): void {
    this.total += 1;
    this.byEndpoint.set(endpoint, (this.byEndpoint.get(endpoint) ?? 0) + 1);
  }

  giveBack(endpoint: string): void {
    this.total -= 1;
    const left = (this.byEndpoint.get(endpoint) ?? 0) - 1;
    if (left > 0) this.byEndpoint.set(endpoint, left);
    else this.byEndpoint.delete(endpoint);
  }
}
