import type { SqlTransaction } from '@lockstep/sql';
import { v7 as uuidv7 } from 'uuid';
import type { OutboxRecord } from '../outbox-store.js';
import { type HalfMessage, type PreparedMessageStore, TOMBSTONE } from '../transactional/prepared-message-store.js';

export interface PreparedMessageStoreEnds {
  readonly store: PreparedMessageStore;
  /** Runs `fn` in a transaction that messages can join. */
  transaction<T>(fn: (tx: SqlTransaction) => Promise<T>): Promise<T>;
  /** What stands in the outbox, also what waits for its delay. */
  published(): Promise<readonly (Omit<OutboxRecord['message'], 'id'> & { readonly id: string; delayed: boolean })[]>;
  dispose(): Promise<void>;
}

type Init = Partial<OutboxRecord['message'] & Omit<OutboxRecord, 'message'> & Omit<HalfMessage, 'record'>>;

const REFUSED = new Error('refused');

/** A store with shortcuts for what the tests do all the time. */
export class PreparedBench {
  readonly store: PreparedMessageStore;

  constructor(readonly ends: PreparedMessageStoreEnds) {
    this.store = ends.store;
  }

  /** Gives id and deadline. */
  async prepare(init: Init = {}): Promise<{ readonly id: string; readonly deadline: number }> {
    const { shard = 3, awaitsAck = true, delayMs = 0, strict = false, ...rest } = init;
    const { checker = TOMBSTONE, checkAfterMs = 0, checkEveryMs = 60_000, checks = 15, ...others } = rest;
    const { joinWithinMs = 60_000, maxAgeMs = 60_000, ...message } = others;
    const whole = { id: uuidv7(), topic: 'paid', key: undefined, payload: '{"n":1}', headers: {}, ...message };
    const record = { message: whole, shard, awaitsAck, delayMs, strict };
    const times = { checkAfterMs, checkEveryMs, checks, joinWithinMs, maxAgeMs };
    const deadline = await this.store.prepare({ record, checker, ...times });
    return { id: whole.id, deadline };
  }

  /** In a transaction that commits. */
  join({ id, deadline }: { readonly id: string; readonly deadline: number }): Promise<boolean> {
    return this.ends.transaction((tx) => this.store.join(tx, id, deadline));
  }

  /** In a transaction that rolls back. */
  async joinInVain({ id, deadline }: { readonly id: string; readonly deadline: number }): Promise<void> {
    const attempt = this.ends.transaction(async (tx) => {
      await this.store.join(tx, id, deadline);
      throw REFUSED;
    });
    await attempt.catch((error: unknown) => {
      if (error !== REFUSED) throw error;
    });
  }

  async due(limit = 100, checker = TOMBSTONE): Promise<string[]> {
    return (await this.store.due({ checker, limit })).map(({ message }) => message.id);
  }

  async publishedIds(): Promise<string[]> {
    return (await this.ends.published()).map(({ id }) => id);
  }
}

export type Prepared = () => PreparedBench;
