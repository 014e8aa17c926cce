import type { Actor } from './explorer.types.js';

/**
 * One actor in one schedule: parked (at a label) → running → parked | ended | failed; parked → crashed.
 * A running actor that does not park is blocked on another one; it parks by itself once that one lets it.
 */
export class ActorRun {
  state: 'parked' | 'running' | 'ended' | 'failed' | 'crashed' = 'parked';
  label = 'start';
  failure: unknown;
  private release: () => void;

  constructor(
    readonly name: string,
    actor: Actor,
  ) {
    // Every actor is parked before its first instruction, so that even that one is placed by the schedule.
    this.release = () => void this.live(actor);
  }

  get hasBegun(): boolean {
    return this.label !== 'start';
  }

  go(): void {
    this.state = 'running';
    this.release();
  }

  crash(): void {
    this.state = 'crashed'; // its promise stays pending and is collected with everything that only it holds
  }

  private async live(actor: Actor): Promise<void> {
    try {
      const life = actor((label) => this.park(label));
      if (Symbol.asyncIterator in life) {
        for await (const label of life) await this.park(label);
      } else {
        await life;
      }
      this.state = 'ended';
    } catch (error) {
      this.state = 'failed';
      this.failure = error;
    }
  }

  private park(label: string): Promise<void> {
    return new Promise((resolve) => {
      this.label = label;
      this.state = 'parked';
      this.release = resolve;
    });
  }
}
