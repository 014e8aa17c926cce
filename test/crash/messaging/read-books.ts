import type { Sql } from '@lockstep/sql';
import type { ConsumerName, Errand, Fate } from './errand.js';
import type { Books, EffectRow, Happening, ReplyRow, SentRow, SkipRow } from './ledger.js';

type Text = string | number;

interface SentColumns {
  readonly tag: string;
  readonly seed: Text;
  readonly topic: string;
  readonly fate: Fate;
  readonly fated_at: ConsumerName;
  readonly order_key: string | null;
  readonly not_before: Text;
  readonly message_id: string | null;
}

export async function readBooks(sql: Sql): Promise<Books> {
  const effects = await sql.query<Happening & { sequence: string | null; at_ms: Text }>(
    'SELECT consumer, tag, sequence, at_ms FROM book_effect ORDER BY id',
  );
  const skips = await sql.query<Happening & { sequence: string; at_ms: Text }>(
    'SELECT consumer, tag, sequence, at_ms FROM book_skip ORDER BY id',
  );
  const replies = await sql.query<{ consumer: string; message_id: string; outcome: string }>(
    'SELECT consumer, message_id, outcome FROM book_reply',
  );
  return {
    sent: await readSent(sql),
    effects: effects.map(({ at_ms, ...row }): EffectRow => ({ ...row, atMs: Number(at_ms) })),
    dead: await readDead(sql),
    skips: skips.map(({ at_ms, ...row }): SkipRow => ({ ...row, atMs: Number(at_ms) })),
    replies: replies.map(({ message_id, ...row }): ReplyRow => ({ ...row, messageId: message_id })),
    ...(await readUnderWay(sql)),
  };
}

async function readSent(sql: Sql): Promise<readonly SentRow[]> {
  const rows = await sql.query<SentColumns>(
    'SELECT tag, seed, topic, fate, fated_at, order_key, not_before, message_id FROM book_sent',
  );
  return rows.map(({ tag, seed, topic, fate, fated_at, order_key, not_before, message_id }) => ({
    tag,
    seed: Number(seed),
    topic,
    fate,
    at: fated_at,
    key: order_key,
    notBefore: Number(not_before),
    messageId: message_id,
  }));
}

async function readDead(sql: Sql): Promise<readonly Happening[]> {
  const rows = await sql.query<{ consumer: string; payload: string }>(
    'SELECT consumer, payload FROM lockstep_outbox_dead',
  );
  return rows.map(({ consumer, payload }) => ({ consumer, tag: (JSON.parse(payload) as Errand).tag }));
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
