import type { DataLoss } from './history.js';
import { sharedMs } from './shared-clock.js';

/** Notes every fault of a round with its time, so that the history can be judged by what struck when. */
export class Weather {
  private readonly struck = new Map<string, number>();
  private readonly spells: { readonly name: string; readonly from: number; to: number }[] = [];
  private readonly lost: DataLoss[] = [];

  get summary(): string {
    return [...this.struck].map(([name, times]) => `${times} × ${name}`).join(', ');
  }

  /** @param strike false when there was nothing to strike */
  async note(name: string, strike: () => Promise<boolean>): Promise<void> {
    const spell = { name, from: sharedMs(), to: Number.POSITIVE_INFINITY };
    this.spells.push(spell);
    if (await strike()) this.struck.set(name, (this.struck.get(name) ?? 0) + 1);
    spell.to = sharedMs();
  }

  /** @param isTold whether holders that stay connected can learn of it by their next heartbeat */
  noteLoss(key: string | undefined, from: number, isTold: boolean): void {
    this.lost.push({ key, from, to: sharedMs(), isCalm: isTold });
  }

  /** @param windowMs how long around a loss nothing else may have struck for it to count as calm */
  losses(windowMs: number): DataLoss[] {
    const strikes = (loss: DataLoss): number =>
      this.spells.filter(({ from, to }) => from < loss.to + windowMs && to > loss.from - windowMs).length;
    // One of them is that of the loss itself.
    return this.lost.map((loss) => ({ ...loss, isCalm: loss.isCalm && strikes(loss) === 1 }));
  }
}
