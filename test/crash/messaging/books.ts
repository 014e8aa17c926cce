import type { OutgoingMessage } from '@lockstep/outbox';
import type { Sql, SqlDialect, SqlTransaction } from '@lockstep/sql';
import type { Errand } from './errand.js';

const IDENTITY: Readonly<Record<SqlDialect, string>> = {
  postgres: 'bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY',
  mariadb: 'bigint AUTO_INCREMENT PRIMARY KEY',
};

/** Milliseconds on the clock of the database, which all processes share. */
const NOW_MS: Readonly<Record<SqlDialect, string>> = {
  postgres: 'floor(extract(epoch FROM clock_timestamp()) * 1000)',
  mariadb: 'FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000)',
};

/** Effects have no key of their own: one that happens twice must show. */
function schema(dialect: SqlDialect): readonly string[] {
  const identity = IDENTITY[dialect];
  return [
    'CREATE TABLE book_round (seed bigint PRIMARY KEY, is_open int NOT NULL)',
    `CREATE TABLE book_run (id ${identity}, seed bigint NOT NULL)`,
    `CREATE TABLE book_sent (tag varchar(64) PRIMARY KEY, seed bigint NOT NULL, topic varchar(64) NOT NULL,
      fate varchar(16) NOT NULL, fated_at varchar(64) NOT NULL, order_key varchar(64), not_before bigint NOT NULL,
      message_id varchar(64))`,
    `CREATE TABLE book_effect (id ${identity}, consumer varchar(64) NOT NULL, tag varchar(64) NOT NULL,
      sequence varchar(64), at_ms bigint NOT NULL)`,
    `CREATE TABLE book_failure (id ${identity}, consumer varchar(64) NOT NULL, tag varchar(64) NOT NULL)`,
    `CREATE TABLE book_skip (id ${identity}, consumer varchar(64) NOT NULL, tag varchar(64) NOT NULL,
      sequence varchar(64) NOT NULL, at_ms bigint NOT NULL)`,
    `CREATE TABLE book_reply (id ${identity}, consumer varchar(64) NOT NULL, message_id varchar(64) NOT NULL,
      outcome varchar(16) NOT NULL)`,
  ];
}

export async function openBooks(sql: Sql): Promise<void> {
  for (const statement of schema(sql.dialect)) await sql.execute(statement);
}

/** In the transaction that publishes the message: so the books know what was committed, and nobody else needs to. */
export async function noteSent(
  tx: SqlTransaction,
  seed: number,
  errand: Errand,
  { topic, key, delay }: Pick<OutgoingMessage, 'topic' | 'key' | 'delay'>,
): Promise<void> {
  await tx.execute(
    `INSERT INTO book_sent (tag, seed, topic, fate, fated_at, order_key, not_before)
     VALUES ($1, $2, $3, $4, $5, $6, ${NOW_MS[tx.dialect]} + $7)`,
    [errand.tag, seed, topic, errand.fate, errand.at, key ?? null, Number(delay ?? 0)],
  );
}

/** Its consumers are to reply; they name it by its id. */
export async function noteAsking(tx: SqlTransaction, tag: string, messageId: string): Promise<void> {
  await tx.execute('UPDATE book_sent SET message_id = $2 WHERE tag = $1', [tag, messageId]);
}

export async function noteEffect(
  tx: SqlTransaction,
  consumer: string,
  tag: string,
  sequence: string | undefined,
): Promise<void> {
  await tx.execute(
    `INSERT INTO book_effect (consumer, tag, sequence, at_ms) VALUES ($1, $2, $3, ${NOW_MS[tx.dialect]})`,
    [consumer, tag, sequence ?? null],
  );
}

/** Before it is skipped, when all that follow it still wait. */
export async function noteSkip(sql: Sql, consumer: string, tag: string, sequence: string): Promise<void> {
  await sql.execute(
    `INSERT INTO book_skip (consumer, tag, sequence, at_ms) VALUES ($1, $2, $3, ${NOW_MS[sql.dialect]})`,
    [consumer, tag, sequence],
  );
}

export async function noteReply(
  tx: SqlTransaction,
  consumer: string,
  messageId: string,
  outcome: string,
): Promise<void> {
  await tx.execute('INSERT INTO book_reply (consumer, message_id, outcome) VALUES ($1, $2, $3)', [
    consumer,
    messageId,
    outcome,
  ]);
}

/** Committed by itself, for the transaction of the handler is about to be rolled back. */
export async function noteFailure(sql: Sql, consumer: string, tag: string): Promise<void> {
  await sql.execute('INSERT INTO book_failure (consumer, tag) VALUES ($1, $2)', [consumer, tag]);
}

export async function failuresOf(sql: Sql, consumer: string, tag: string): Promise<number> {
  const [row] = await sql.query<{ n: string | number }>(
    'SELECT count(*) AS n FROM book_failure WHERE consumer = $1 AND tag = $2',
    [consumer, tag],
  );
  return Number(row?.n);
}

/** The round that producers work for; undefined between two. */
export async function openRound(sql: Sql): Promise<number | undefined> {
  const [row] = await sql.query<{ seed: string | number }>('SELECT seed FROM book_round WHERE is_open = 1');
  return row && Number(row.seed);
}

/** A number of its own for each process that works for a round, so that two draw different things. */
export async function nextRun(sql: Sql, seed: number): Promise<number> {
  return sql.transaction(async (tx) => {
    await tx.execute('INSERT INTO book_run (seed) VALUES ($1)', [seed]);
    const [row] = await tx.query<{ n: string | number }>('SELECT max(id) AS n FROM book_run');
    return Number(row?.n);
  });
}
