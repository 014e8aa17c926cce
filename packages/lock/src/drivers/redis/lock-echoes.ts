import { monotonicMs } from '@lockstep/core';

interface Echo {
  /** Server time from which on a late copy of a request is refused; 0 where there is none. */
  readonly notAfterMs: number;
  /** Local end of the lease: later nothing can be named that still matters. */
  readonly until: number;
}

/**
 * Tokens that hold a lock and that a late copy of a request, or a late push, may still name: a push of one of them is no
 * news, and its release must outlast the copy. Each is forgotten with its lease.
 */
export class LockEchoes {
  /** Those that were noted or extended longest ago first. */
  private readonly echoes = new Map<string, Echo>();

  has(token: string): boolean {
    return this.echoes.has(token);
  }

  note(token: string, notAfterMs: number, until: number): void {
    this.forgetEnded();
    this.echoes.set(token, { notAfterMs, until });
  }

  extend(token: string, until: number): void {
    const echo = this.echoes.get(token);
    if (!echo) return;
    this.echoes.delete(token);
    this.echoes.set(token, { ...echo, until });
  }

  /** Returns the server time that its release must outlast. */
  take(token: string): number {
    const echo = this.echoes.get(token);
    this.echoes.delete(token);
    return echo?.notAfterMs ?? 0;
  }

  private forgetEnded(): void {
    const now = monotonicMs();
    for (const [token, { until }] of this.echoes) {
      if (until > now) return;
      this.echoes.delete(token);
    }
  }
}
