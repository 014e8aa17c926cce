/** At most so many at a time, first come first served. Once closed it grants nothing more. */
export class Permits {
  private readonly waiting: ((granted: boolean) => void)[] = [];
  private closed = false;

  constructor(private free: number) {}

  /** Resolves to false when there will be none any more. */
  async acquire(): Promise<boolean> {
    if (this.closed) return false;
    if (this.free > 0) {
      this.free -= 1;
      return true;
    }
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  release(): void {
    const next = this.waiting.shift();
    if (next) next(true);
    else this.free += 1;
  }

  close(): void {
    this.closed = true;
    for (const refuse of this.waiting.splice(0)) refuse(false);
  }
}
