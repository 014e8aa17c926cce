import { monotonicMs } from '@lockstep/core';

/** How long past its time a message that comes back is waited for: it may have gone to another process. */
const GRACE_MS = 2_000;
/** The one that is waited for must be there first, although both come at the same time. */
const BEHIND_MS = 20;

/** Keys of which a message comes back to this process: later ones of the key must not overtake it. */
export class ComingKeys {
  /** Key → number of the message → when it comes, by the local clock. */
  private readonly dueOf = new Map<string, Map<number, number>>();

  expect(key: string | undefined, sequence: number, delayMs: number): void {
    if (key === undefined) return;
    let due = this.dueOf.get(key);
    if (!due) {
      due = new Map();
      this.dueOf.set(key, due);
    }
    due.set(sequence, monotonicMs() + delayMs);
  }

  arrived(key: string | undefined, sequence: number): void {
    if (key === undefined) return;
    const due = this.dueOf.get(key);
    if (due?.delete(sequence) === true && due.size === 0) this.dueOf.delete(key);
  }

  /** How long a message must stay away so that it comes behind those of its key; `undefined` when it may go on. */
  waitOf(key: string | undefined, sequence: number): number | undefined {
    const due = key === undefined ? undefined : this.dueOf.get(key);
    if (key === undefined || !due) return undefined;
    const now = monotonicMs();
    for (const [earlier, at] of due) if (at + GRACE_MS < now) this.arrived(key, earlier);
    const ahead = [...due].filter(([earlier]) => earlier < sequence).map(([, at]) => at);
    return ahead.length === 0 ? undefined : Math.max(...ahead.map((at) => at - now), 0) + BEHIND_MS;
  }
}
