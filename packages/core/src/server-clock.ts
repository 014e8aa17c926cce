import { monotonicMs } from './time.js';

/** By how much the rates of two clocks may differ: 500 parts per million is what NTP corrects at most. */
const DRIFT = 0.0005;

/**
 * What time it is at the server: the last good sample of its clock, carried on by the local monotonic one. A sample
 * is the server's time between the sending of a command and its answer, so its error is at most half of that.
 */
export class ServerClock {
  private offsetMs = 0;
  private boundMs = Number.POSITIVE_INFINITY;
  private sampledAt = 0;

  /** Estimated time of the server, in milliseconds since 1970. Falls back to the local clock before the first sample. */
  nowMs(): number {
    return this.boundMs === Number.POSITIVE_INFINITY ? Date.now() : monotonicMs() + this.offsetMs;
  }

  /** By how much {@link nowMs} may be wrong, as long as the server's clock is not set. */
  errorBoundMs(): number {
    return this.boundMs + (monotonicMs() - this.sampledAt) * DRIFT;
  }

  /** Takes a sample when it is sharper than what is known, or when it shows that the server's clock was set. */
  sample(serverMs: number, sentAt: number, receivedAt: number): void {
    const boundMs = (receivedAt - sentAt) / 2;
    const offsetMs = serverMs - (sentAt + receivedAt) / 2;
    const knownBoundMs = this.boundMs + (receivedAt - this.sampledAt) * DRIFT;
    const contradicts = Math.abs(offsetMs - this.offsetMs) > boundMs + knownBoundMs;
    if (boundMs > knownBoundMs && !contradicts) return;
    this.offsetMs = offsetMs;
    this.boundMs = boundMs;
    this.sampledAt = receivedAt;
  }
}
