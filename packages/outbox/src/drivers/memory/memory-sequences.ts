import type { MessageEnvelope } from '../../message.js';
import { SEQUENCE_HEADER } from '../../message-headers.js';
import type { MessageRoute } from '../../message-transport.js';
import { parseSequence, type Sequence, sequenceText } from '../../sequence.js';
import type { Draw, Drawn } from '../draw-sequences.js';

interface Counter extends Drawn {
  readonly touchedAt: number;
}

type Key = Pick<Draw, 'topic' | 'key'>;

const BATCH = 1_000;

/** Counters of strict keys, and the first sequence of each consumer that subscribed when the key had some already. */
export class MemorySequences {
  private readonly counters = new Map<string, Counter>();
  private readonly starts = new Map<string, Map<string, string>>();

  draw(draws: readonly Draw[], now: number): readonly Drawn[] {
    return draws.map(({ topic, key, wanted }) => {
      const { generation = now, n = 0 } = this.counters.get(nameOf({ topic, key })) ?? {};
      const counter = { topic, key, generation, n: n + wanted, touchedAt: now };
      this.counters.set(nameOf(counter), counter);
      return counter;
    });
  }

  /** @param unrouted messages of the topic that no consumer was given yet */
  begin({ topic, consumer }: MessageRoute, unrouted: readonly MessageEnvelope[]): void {
    for (const counter of this.counters.values()) {
      if (counter.topic !== topic) continue;
      const first = firstOf(unrouted.filter(({ key }) => key === counter.key)) ?? { ...counter, n: counter.n + 1 };
      const starts = this.starts.get(nameOf(counter)) ?? new Map<string, string>();
      this.starts.set(nameOf(counter), starts.set(consumer, sequenceText(first)));
    }
  }

  end({ topic, consumer }: MessageRoute): void {
    for (const counter of this.counters.values()) {
      if (counter.topic === topic) this.starts.get(nameOf(counter))?.delete(consumer);
    }
  }

  startOf({ topic, key }: MessageEnvelope, consumer: string): string | undefined {
    return key === undefined ? undefined : this.starts.get(nameOf({ topic, key }))?.get(consumer);
  }

  purge(touchedBefore: number, isUsed: (key: Key) => boolean): number {
    const idle = [...this.counters.values()].filter((one) => one.touchedAt < touchedBefore && !isUsed(one));
    for (const counter of idle.slice(0, BATCH)) {
      this.counters.delete(nameOf(counter));
      this.starts.delete(nameOf(counter));
    }
    return Math.min(idle.length, BATCH);
  }
}

function firstOf(messages: readonly MessageEnvelope[]): Sequence | undefined {
  const sequences = messages.flatMap(({ headers }) => parseSequence(headers[SEQUENCE_HEADER]) ?? []);
  return sequences.sort((a, b) => a.generation - b.generation || a.n - b.n)[0];
}

function nameOf({ topic, key }: Key): string {
  return `${topic}\0${key}`;
}
