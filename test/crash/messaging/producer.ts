import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLockstepError } from '@lockstep/core';
import type { OutboxService, OutgoingMessage } from '@lockstep/outbox';
import type { Sql, SqlTransaction } from '@lockstep/sql';
import { type SeededRandom, seededRandom } from '@lockstep/testing';
import { nextRun, noteAsking, noteSent, openRound } from './books.js';
import { CONSUMERS_OF, drawErrand, drawTopic, type Errand, KEPT, REPLIES, STRICT } from './errand.js';

const PAUSE_MS = [5, 60] as const;
const IDLE_MS = 100;
const KEYS = 12;
/** Few: so that several wait for each other. */
const STRICT_KEYS = 5;
const LONGEST_DELAY_MS = 3_000;
const MOST_AT_ONCE = 12;

/** The producer undoes what it did, on purpose. */
class Undone extends Error {}

/** Writes business rows and messages in one transaction, again and again, while a round is open. */
export class Producer {
  private random: SeededRandom | undefined;
  private seed: number | undefined;
  private isStopping = false;
  private working: Promise<void> | undefined;

  constructor(
    private readonly sql: Sql,
    private readonly outbox: OutboxService,
  ) {}

  start(): void {
    this.working = this.work();
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await this.working;
  }

  private async work(): Promise<void> {
    while (!this.isStopping) {
      try {
        const isOpen = await this.join();
        if (isOpen) await this.transact();
        await sleep(isOpen ? this.drawn().integer(...PAUSE_MS) : IDLE_MS);
      } catch (error) {
        // A database that is away is part of the run; the books know what was committed.
        if (!isLockstepError(error) || error.kind === 'misuse') throw error;
        await sleep(IDLE_MS);
      }
    }
  }

  /** False while no round is open. */
  private async join(): Promise<boolean> {
    const seed = await openRound(this.sql);
    if (seed === undefined) return false;
    if (seed !== this.seed) {
      this.random = seededRandom(seed + (await nextRun(this.sql, seed)));
      this.seed = seed;
    }
    return true;
  }

  private async transact(): Promise<void> {
    const random = this.drawn();
    const transaction = this.sql.transaction(async (tx) => {
      for (let n = random.integer(1, 4); n > 0; n -= 1) await this.send(tx, random.next() < 0.15);
      if (random.next() < 0.2) await this.sendInVain(tx);
      if (random.next() < 0.2) throw new Undone();
    });
    await transaction.catch(unlessUndone);
  }

  private async sendInVain(tx: SqlTransaction): Promise<void> {
    const savepoint = tx.savepoint?.(async () => {
      await this.send(tx, false);
      throw new Undone();
    });
    await savepoint?.catch(unlessUndone);
  }

  private async send(tx: SqlTransaction, many: boolean): Promise<void> {
    const count = many ? this.drawn().integer(2, MOST_AT_ONCE) : 1;
    const messages: ErrandMessage[] = [];
    for (let n = 0; n < count; n += 1) messages.push(await this.note(tx));
    const [first] = messages;
    const ids =
      many || !first
        ? await this.outbox.publishMany(messages)
        : [await this.outbox.publish(first.topic, first.body, omitContent(first))];
    for (const [index, { body, callback }] of messages.entries()) {
      if (callback !== undefined) await noteAsking(tx, body.tag, ids[index] ?? '');
    }
  }

  private async note(tx: SqlTransaction): Promise<ErrandMessage> {
    const random = this.drawn();
    const topic = drawTopic(random);
    const body = drawErrand(random, randomUUID(), CONSUMERS_OF[topic] ?? []);
    const message: ErrandMessage = { topic, body, ...mannerOf(topic, random) };
    await noteSent(tx, this.seed ?? 0, body, message);
    return message;
  }

  private drawn(): SeededRandom {
    if (!this.random) throw new Error('the producer has joined no round');
    return this.random;
  }
}

function unlessUndone(error: unknown): void {
  if (!(error instanceof Undone)) throw error;
}

interface ErrandMessage extends OutgoingMessage {
  readonly body: Errand;
}

function mannerOf(topic: string, random: SeededRandom): Omit<OutgoingMessage, 'topic' | 'body'> {
  if (topic === STRICT) return { ordered: 'strict', key: `key-${random.integer(0, STRICT_KEYS)}` };
  const key = random.next() < 0.5 ? { key: `key-${random.integer(0, KEYS)}` } : {};
  if (topic !== KEPT) return key;
  const delay = random.next() < 0.1 ? { delay: random.integer(100, LONGEST_DELAY_MS) } : {};
  return { ...key, ...delay, ...(random.next() < 0.2 ? { callback: REPLIES } : {}) };
}

function omitContent({
  topic: _topic,
  body: _body,
  ...manner
}: ErrandMessage): Omit<OutgoingMessage, 'topic' | 'body'> {
  return manner;
}
