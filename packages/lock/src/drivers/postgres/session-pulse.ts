/**
 * Lets a session say something before the server takes its silence for a process that stands still. Leases speak when
 * they are extended; this is for the time without any.
 */
export class SessionPulse {
  private timer: NodeJS.Timeout | undefined;
  private isSilent = false;

  constructor(private readonly beat: () => void) {}

  /** Something was sent anyway. */
  note(): void {
    this.isSilent = false;
  }

  /** From now on no silence, whoever else speaks, is longer than two thirds of `silenceMs`. */
  start(silenceMs: number): void {
    this.stop();
    this.timer = setInterval(() => {
      if (this.isSilent) this.beat();
      this.isSilent = true;
    }, silenceMs / 3).unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }
}
