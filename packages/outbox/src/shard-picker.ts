import { createHash } from 'node:crypto';
import type { MessageEnvelope } from './message.js';

/** One shard for all messages of a topic and key, so that one relay at a time publishes them; any for the others. */
export class ShardPicker {
  private next = 0;

  constructor(private readonly shards: number) {}

  pick({ topic, key }: Pick<MessageEnvelope, 'topic' | 'key'>): number {
    if (key === undefined) {
      this.next = (this.next + 1) % this.shards;
      return this.next;
    }
    const digest = createHash('sha256').update(`${topic.length}:${topic}${key}`).digest();
    return digest.readUInt32BE(0) % this.shards;
  }
}
