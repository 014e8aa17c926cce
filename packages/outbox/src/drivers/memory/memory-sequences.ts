import type { MessageEnvelope } from '../../message.js';
import { SEQUENCE_HEADER } from '../../message-headers.js';
import type { MessageRoute } from '../../message-transport.js';
import { parseSequence, type Sequence, sequenceText } from '../../sequence.js';
import type { Draw, Drawn } from '../draw-sequences.js';
import { stepsOf } from '../idle-keys.js';

interface Counter extends Drawn {
  readonly touchedAt: number;
}

type Key = Pick<Draw, 'topic' | 'key'>;

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

  /** @param unrouted messages that no consumer was given yet, of any key */
  begin({ topic, consumer }: MessageRoute, key: string, unrouted: readonly MessageEnvelope[]): void {
    const first = firstOf(unrouted.filter((message) => message.topic === topic && message.key === key));
    const starts = this.starts.get(nameOf({ topic, key })) ?? new Map<string, string>();
    if (first) this.starts.set(nameOf({ topic, key }), starts.set(consumer, sequenceText(first)));
  }

  end({ topic, consumer }: MessageRoute): void {
    for (const counter of this.counters.values()) {
      if (counter.topic === topic) this.starts.get(nameOf(counter))?.delete(consumer);
    }
  }

  startOf({ topic, key }: MessageEnvelope, consumer: string): string | undefined {
    return key === undefined ? undefined : this.starts.get(nameOf({ topic, key }))?.get(consumer);
  }

  /** @param waitingFor the consumers that have strict messages of the key, and `''` for those not routed yet */
  purge(touchedBefore: number, routes: readonly MessageRoute[], waitingFor: (key: Key) => readonly string[]): number {
    const looked = [...this.counters.values()].map((counter) => ({
      ...counter,
      isIdle: counter.touchedAt < touchedBefore,
      waiting: waitingFor(counter),
      told: this.toldOf(counter),
    }));
    const { steps } = stepsOf(looked, routes);
    for (const { key, told } of steps) {
      if (told) this.tell(key, told);
      else this.forget(key);
    }
    return steps.length;
  }

  private toldOf(counter: Counter): readonly string[] {
    const next = nextOf(counter);
    const starts = [...(this.starts.get(nameOf(counter)) ?? [])];
    return starts.flatMap(([consumer, start]) => (start === next ? [consumer] : []));
  }

  private tell(counter: Counter, consumers: readonly string[]): void {
    const starts = this.starts.get(nameOf(counter)) ?? new Map<string, string>();
    for (const consumer of consumers) starts.set(consumer, nextOf(counter));
    this.starts.set(nameOf(counter), starts);
  }

  private forget(key: Key): void {
    this.counters.delete(nameOf(key));
    this.starts.delete(nameOf(key));
  }
}

function nextOf({ generation, n }: Sequence): string {
  return sequenceText({ generation, n: n + 1 });
}

function firstOf(messages: readonly MessageEnvelope[]): Sequence | undefined {
  const sequences = messages.flatMap(({ headers }) => parseSequence(headers[SEQUENCE_HEADER]) ?? []);
  return sequences.sort((a, b) => a.generation - b.generation || a.n - b.n)[0];
}

function nameOf({ topic, key }: Key): string {
  return `${topic}\0${key}`;
}
