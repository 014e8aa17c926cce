import type { SqlTransaction } from '@lockstep/sql';
import type { MessageRoute } from '../../message-transport.js';
import { sequenceText } from '../../sequence.js';
import { type IdleKeyStep, LOOK_AT, type LookedAt, stepsOf } from '../idle-keys.js';
import type { OwnTransactions } from './own-transactions.js';
import {
  FORGET_COUNTERS,
  FORGET_STARTS,
  LOCK_UNUSED,
  LOOK_AT_KEYS,
  ROUTES,
  TELL_STARTS,
} from './sequence-statements.js';

interface LookedRow {
  readonly topic: string;
  readonly key: string;
  readonly generation: string;
  readonly n: string;
  readonly touched_at: string;
  readonly isIdle: number;
  readonly waiting: unknown;
  readonly told: unknown;
}

interface TouchedKey extends LookedAt {
  readonly touched_at: string;
}

/** Walks the counters of strict keys, some a sweep, and begins again behind the last one. */
export class MariaDbIdleKeys {
  private last: Pick<LookedAt, 'topic' | 'key'> | undefined;

  constructor(private readonly own: OwnTransactions) {}

  /** Returns of how many keys the counter was forgotten, or a consumer was told where to begin. */
  async sweep(olderThanMs: number): Promise<number> {
    const { topic = '', key = '' } = this.last ?? {};
    const { keys, last } = await this.own.transaction(async (tx) => {
      // Before the keys: who subscribes in between is told where to begin in that step.
      const routes = await tx.query<MessageRoute>(ROUTES);
      // It reads all keys that are in use: in a transaction it may take longer than a single statement.
      const rows = await tx.query<LookedRow>(LOOK_AT_KEYS, [olderThanMs, topic, key, LOOK_AT]);
      const found = stepsOf(rows.map(lookedAt), routes);
      return { keys: await this.take(tx, found.steps), last: found.last };
    });
    this.last = last;
    return keys;
  }

  private async take(tx: SqlTransaction, steps: readonly IdleKeyStep<TouchedKey>[]): Promise<number> {
    if (steps.length === 0) return 0;
    const keys = steps.map(({ key: { topic, key, touched_at } }) => ({ topic, key, touched_at }));
    const locked = await tx.query<{ topic: string; key: string }>(LOCK_UNUSED, [JSON.stringify(keys)]);
    const names = new Set(locked.map(nameOf));
    const still = steps.filter(({ key }) => names.has(nameOf(key)));
    const unused = JSON.stringify(still.flatMap(({ key, told }) => (told ? [] : [{ topic: key.topic, key: key.key }])));
    await tx.execute(FORGET_STARTS, [unused]);
    await tx.execute(FORGET_COUNTERS, [unused]);
    await tx.execute(TELL_STARTS, [JSON.stringify(still.flatMap(startsOf))]);
    return still.length;
  }
}

function lookedAt({ topic, key, generation, n, touched_at, isIdle, waiting, told }: LookedRow): TouchedKey {
  return {
    topic,
    key,
    generation: Number(generation),
    n: Number(n),
    touched_at,
    isIdle: Number(isIdle) === 1,
    waiting: consumersOf(waiting),
    told: consumersOf(told),
  };
}

/** A list in JSON is a text, or a list already: that depends on what the client knows of the type. */
function consumersOf(list: unknown): readonly string[] {
  if (list === null) return [];
  return (typeof list === 'string' ? JSON.parse(list) : list) as readonly string[];
}

function startsOf({ key: { topic, key, generation, n }, told = [] }: IdleKeyStep): readonly object[] {
  return told.map((consumer) => ({ topic, key, consumer, sequence: sequenceText({ generation, n: n + 1 }) }));
}

function nameOf({ topic, key }: Pick<LookedAt, 'topic' | 'key'>): string {
  return `${topic}\0${key}`;
}
