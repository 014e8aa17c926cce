import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 5;
const SHARD = /^(-1|\d{1,5})$/;

/**
 * Gathers announcements, so that one at a time is on its way and each is followed by a pause.
 *
 * ```
 * idle --announce--> sending --answered or failed, and 5 ms have passed--> idle
 *                            --announced meanwhile--> sending those, as one
 * ```
 */
export class Announcements {
  private readonly waiting = new Set<number>();
  private isSending = false;

  /** @param send must not reject */
  constructor(private readonly send: (shards: readonly number[]) => Promise<void>) {}

  add(shards: readonly number[]): void {
    for (const shard of shards) this.waiting.add(shard);
    if (!this.isSending && this.waiting.size > 0) void this.sendAll();
  }

  private async sendAll(): Promise<void> {
    this.isSending = true;
    while (this.waiting.size > 0) {
      const shards = [...this.waiting];
      this.waiting.clear();
      await Promise.all([this.send(shards), sleep(PAUSE_MS, undefined, { ref: false })]);
    }
    this.isSending = false;
  }
}

/** The text of an announcement. `sender` lets a process pass over its own. */
export function announcementText(sender: string, shards: readonly number[]): string {
  return `${sender} ${shards.join(',')}`;
}

/** Undefined for one of `self`. What cannot be read counts as: anywhere; the channel is open to others. */
export function readAnnouncement(
  text: string,
  self: string,
): { readonly shards: readonly number[] | undefined } | undefined {
  const [sender, list = ''] = text.split(' ');
  if (sender === self) return undefined;
  const shards = list.split(',');
  return { shards: shards.every((shard) => SHARD.test(shard)) ? shards.map(Number) : undefined };
}
