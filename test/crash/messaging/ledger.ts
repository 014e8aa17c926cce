import type { Sql } from '@lockstep/sql';
import { CONSUMERS_OF, type ConsumerName, diesAt, type Errand, FAST, type Fate } from './errand.js';

export interface SentRow {
  readonly tag: string;
  /** Of the round. */
  readonly seed: number;
  readonly topic: string;
  readonly fate: Fate;
  readonly at: ConsumerName;
}

/** What happened to one message at one consumer. */
export interface Happening {
  readonly tag: string;
  readonly consumer: string;
}

export interface Books {
  /** What was committed. */
  readonly sent: readonly SentRow[];
  readonly effects: readonly Happening[];
  readonly dead: readonly Happening[];
  readonly pending: number;
  readonly inFlight: number;
}

/** Balances the books when nothing is under way any more: every sentence that comes back is a broken promise. */
export function balance(books: Books, mayHaveLost: (seed: number) => boolean): string[] {
  const effects = countByMessage(books.effects);
  const dead = countByMessage(books.dead);
  const known = new Set(books.sent.map(({ tag }) => tag));
  const strays = [...books.effects, ...books.dead].filter(({ tag }) => !known.has(tag));
  return [
    ...books.sent.flatMap((row) =>
      (CONSUMERS_OF[row.topic] ?? []).flatMap((consumer) =>
        checkMessage(row, consumer, effects.get(nameOf(row.tag, consumer)) ?? 0, {
          dead: dead.get(nameOf(row.tag, consumer)) ?? 0,
          mayBeLost: row.topic === FAST && mayHaveLost(row.seed),
        }),
      ),
    ),
    ...strays.map(({ tag, consumer }) => `${tag} reached ${consumer} and was never committed`),
    ...(books.pending > 0 ? [`${books.pending} messages were never relayed`] : []),
    ...(books.inFlight > 0 ? [`${books.inFlight} messages were never acknowledged`] : []),
  ];
}

interface Circumstances {
  readonly dead: number;
  readonly mayBeLost: boolean;
}

function checkMessage(
  { tag, seed, topic, fate, at }: SentRow,
  consumer: ConsumerName,
  effects: number,
  { dead, mayBeLost }: Circumstances,
): string[] {
  const dies = diesAt(fate, at, consumer);
  const name = `seed ${seed}: ${fate} ${tag} of ${topic} at ${consumer}`;
  const [least, most] = dies ? [0, 0] : [mayBeLost ? 0 : 1, 1];
  const [leastDead, mostDead] = dies ? [mayBeLost ? 0 : 1, 1] : [0, 0];
  return [
    ...(effects < least || effects > most ? [`${name} has ${effects} effects`] : []),
    ...(dead < leastDead || dead > mostDead ? [`${name} has ${dead} dead letters`] : []),
  ];
}

function countByMessage(happenings: readonly Happening[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { tag, consumer } of happenings) {
    const name = nameOf(tag, consumer);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

function nameOf(tag: string, consumer: string): string {
  return `${tag} ${consumer}`;
}

type Text = string | number;

export async function readBooks(sql: Sql): Promise<Books> {
  const sent = await sql.query<{ tag: string; seed: Text; topic: string; fate: Fate; fated_at: ConsumerName }>(
    'SELECT tag, seed, topic, fate, fated_at FROM book_sent',
  );
  const effects = await sql.query<Happening>('SELECT consumer, tag FROM book_effect');
  const dead = await sql.query<{ consumer: string; payload: string }>(
    'SELECT consumer, payload FROM lockstep_outbox_dead',
  );
  return {
    sent: sent.map(({ seed, fated_at, ...row }) => ({ ...row, seed: Number(seed), at: fated_at })),
    effects,
    dead: dead.map(({ consumer, payload }) => ({ consumer, tag: (JSON.parse(payload) as Errand).tag })),
    ...(await readUnderWay(sql)),
  };
}

export async function readUnderWay(sql: Sql): Promise<Pick<Books, 'pending' | 'inFlight'>> {
  const [row] = await sql.query<{ pending: Text; flying: Text }>(
    `SELECT (SELECT count(*) FROM lockstep_outbox) + (SELECT count(*) FROM lockstep_outbox_delayed) AS pending,
       (SELECT count(*) FROM lockstep_outbox_inflight) AS flying`,
  );
  return { pending: Number(row?.pending), inFlight: Number(row?.flying) };
}

export async function countEffects(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ n: Text }>('SELECT count(*) AS n FROM book_effect');
  return Number(row?.n);
}
