import type { MessageRoute } from '../message-transport.js';

/** Failures, each with a success of another message of the route before the next, that make it the message's own. */
const STRIKES = 3;
const MOST_REMEMBERED = 10_000;

interface Strikes {
  readonly count: number;
  readonly atStep: number;
}

/**
 * Tells a message that cannot be published from a route that is broken: the message failed alone, again and again, while
 * others of its route went through in between. Remembered in this process only; a restart begins anew, which delays a
 * verdict and never hastens it.
 *
 * ```
 * unknown --fails alone--> suspect, one strike --another one is taken, then it fails alone--> one strike more
 * suspect --third strike--> guilty      suspect --it is taken itself--> unknown
 * ```
 */
export class Suspects {
  private step = 0;
  private readonly worksSince = new Map<string, number>();
  private readonly strikes = new Map<string, Strikes>();

  /** The transport took these messages of the route. */
  taken({ topic, consumer }: MessageRoute, messageIds: readonly string[]): void {
    this.step += 1;
    this.worksSince.set(`${topic}/${consumer}`, this.step);
    if (this.strikes.size === 0) return;
    for (const id of messageIds) this.strikes.delete(`${consumer}/${id}`);
  }

  /** It failed alone. Returns whether the fault is its own by now; then it is forgotten. */
  strike({ topic, consumer }: MessageRoute, messageId: string): boolean {
    const name = `${consumer}/${messageId}`;
    const known = this.strikes.get(name);
    const worksSince = this.worksSince.get(`${topic}/${consumer}`) ?? 0;
    if (known && worksSince < known.atStep) return false;
    const count = (known?.count ?? 0) + 1;
    this.strikes.delete(name);
    if (count >= STRIKES) return true;
    this.step += 1;
    this.strikes.set(name, { count, atStep: this.step });
    this.forgetOldest();
    return false;
  }

  private forgetOldest(): void {
    const [oldest] = this.strikes.keys();
    if (oldest !== undefined && this.strikes.size > MOST_REMEMBERED) this.strikes.delete(oldest);
  }
}
