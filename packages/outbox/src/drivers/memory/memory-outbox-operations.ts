import type { MessageEnvelope } from '../../message.js';
import { AWAITED_AGAIN, SEQUENCE_HEADER, SKIP_HEADER } from '../../message-headers.js';
import type { MessageRoute } from '../../message-transport.js';
import {
  type DeadLetter,
  type DeadLetterId,
  type DeadLetterQuery,
  NO_CONSUMER,
  type OutboxFacts,
  type OutboxOperations,
} from '../../outbox-store.js';
import { parseSequence } from '../../sequence.js';
import { flightKey, type MemoryOutboxTables } from './memory-outbox-tables.js';

const COUNT_LIMIT = 10_000;
const BATCH = 1_000;

export class MemoryOutboxOperations implements OutboxOperations {
  constructor(private readonly tables: MemoryOutboxTables) {}

  async facts(): Promise<OutboxFacts> {
    const pending = [...this.tables.pending.values()].map(({ message }) => message);
    const delayed = [...this.tables.delayed];
    const flying = [...this.tables.inFlight.values()];
    const ageOf = (messages: readonly { readonly publishedAt: number }[]): number =>
      messages.reduce((oldest, { publishedAt }) => Math.max(oldest, Date.now() - publishedAt), 0);
    const messagesOf = (parked: boolean) =>
      flying.filter(({ consumer }) => (consumer === NO_CONSUMER) === parked).map(({ message }) => message);
    return {
      oldestPendingMs: ageOf(pending),
      oldestInFlightMs: ageOf(messagesOf(false)),
      oldestParkedMs: ageOf(messagesOf(true)),
      oldestDueMs: Math.max(0, ...delayed.map(({ dueAt }) => Date.now() - dueAt)),
      delayed: Math.min(delayed.length, COUNT_LIMIT),
      pending: Math.min(pending.length, COUNT_LIMIT),
      inFlight: Math.min(flying.length, COUNT_LIMIT),
      dead: Math.min(this.tables.dead.size, COUNT_LIMIT),
    };
  }

  async deadLetters({ consumer, topic, blocking, after, limit }: DeadLetterQuery): Promise<readonly DeadLetter[]> {
    const letters = [...this.tables.dead.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
    return letters
      .filter(([key, letter]) => (!after || key > flightKey(after)) && (!consumer || letter.consumer === consumer))
      .filter(([, { message }]) => (!topic || message.topic === topic) && (!blocking || isStrict(message)))
      .slice(0, limit)
      .map(([, letter]) => letter);
  }

  async replay(ids: readonly DeadLetterId[]): Promise<number> {
    return this.take(ids, ({ message, consumer }) => this.flyAgain(message, consumer, {}));
  }

  async skip(ids: readonly DeadLetterId[]): Promise<number> {
    const strict = ids.filter((id) => {
      const letter = this.tables.dead.get(flightKey(id));
      return letter !== undefined && isStrict(letter.message);
    });
    return this.take(strict, (letter) => this.passOver(letter));
  }

  async discard(ids: readonly DeadLetterId[]): Promise<number> {
    return this.take(ids, (letter) => this.holdsUp(letter) && this.passOver(letter));
  }

  async purge(olderThanMs: number): Promise<number> {
    const before = Date.now() - olderThanMs;
    const old = [...this.tables.dead.values()].filter((letter) => letter.failedAt < before && !this.holdsUp(letter));
    return this.discard(old.slice(0, BATCH));
  }

  async purgeSequences(olderThanMs: number): Promise<number> {
    const { pending, inFlight, dead, sequences } = this.tables;
    const unrouted = [...pending.values()].map(({ message }) => ({ message, consumer: NO_CONSUMER }));
    const waiting = new Map<string, string[]>();
    for (const { message, consumer } of [...unrouted, ...inFlight.values(), ...dead.values()]) {
      if (isStrict(message)) waiting.set(nameOf(message), [...(waiting.get(nameOf(message)) ?? []), consumer]);
    }
    const idleSince = Date.now() - olderThanMs;
    return sequences.purge(idleSince, this.tables.routes(), (key) => waiting.get(nameOf(key)) ?? []);
  }

  async retire(route: MessageRoute): Promise<number> {
    this.tables.unsubscribe(route);
    const rows = [...this.tables.inFlight.values()]
      .filter(({ consumer, message }) => consumer === route.consumer && message.topic === route.topic)
      .slice(0, BATCH);
    for (const { message, consumer } of rows) {
      const error = 'the subscription was retired';
      this.tables.lay({ outcome: 'dead', messageId: message.id, consumer, error }, Date.now());
    }
    return rows.length;
  }

  /** Nothing waits for a turn that nobody can read, or at a consumer that was retired. */
  private holdsUp({ message, consumer }: DeadLetter): boolean {
    const isReadable = message.key !== undefined && parseSequence(message.headers[SEQUENCE_HEADER]) !== undefined;
    return isReadable && this.tables.consumersOf(message.topic).includes(consumer);
  }

  private passOver(letter: DeadLetter): void {
    // Beside it may be one in flight, which would take effect.
    this.tables.inFlight.delete(flightKey(letter));
    this.flyAgain(letter.message, letter.consumer, { [SKIP_HEADER]: '1' });
  }

  private flyAgain(dead: MessageEnvelope, consumer: string, added: Readonly<Record<string, string>>): void {
    const message = { ...dead, headers: { ...dead.headers, ...AWAITED_AGAIN, ...added } };
    this.tables.fly({ message, consumer, awaitsAck: true, deliveries: 0, dueAt: 0 });
  }

  private take(ids: readonly DeadLetterId[], use: (letter: DeadLetter) => unknown): number {
    let taken = 0;
    for (const id of ids) {
      const letter = this.tables.dead.get(flightKey(id));
      if (!letter) continue;
      this.tables.dead.delete(flightKey(id));
      use(letter);
      taken += 1;
    }
    return taken;
  }
}

function isStrict({ headers }: MessageEnvelope): boolean {
  return headers[SEQUENCE_HEADER] !== undefined;
}

function nameOf({ topic, key }: Pick<MessageEnvelope, 'topic' | 'key'>): string {
  return `${topic}\0${key}`;
}
