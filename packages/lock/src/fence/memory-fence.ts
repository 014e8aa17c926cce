import { StaleFenceError } from './fence.errors.js';
import { assertFence } from './fence.js';

/**
 * Guards something that only this process reaches: a file, a device, a structure in memory. Touch it before the first
 * read, so that no earlier holder writes after that read, and again at each write:
 *
 * ```
 * guard.touch(lease.fence); const before = await device.read();
 * guard.touch(lease.fence); device.write(after);
 * ```
 * Protects what is begun in the same run of code as the touch. A resource that may carry out writes in another order
 * than it got them has to be awaited before the next holder may touch; what it remembers ends with the process.
 */
export class MemoryFence {
  private seen = 0n;

  /** @param resource for messages; they reach the client */
  constructor(private readonly resource?: string) {}

  /**
   * Remembers the greatest fence. The same fence may come any number of times: its holder is one.
   *
   * @throws StaleFenceError when a greater one has been here
   * @throws FenceMisuseError when it is no fence
   */
  touch(fence: bigint): void {
    assertFence(fence);
    if (fence < this.seen) throw new StaleFenceError(fence, this.seen, this.resource);
    this.seen = fence;
  }
}
