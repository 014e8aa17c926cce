import type { SqlDialect } from '@lockstep/sql';

/** The words in which the two dialects differ; the statements are written with them once. */
export interface SqlTerms {
  /** The same all through a statement. */
  readonly now: string;
  /** Also inside a long transaction. */
  readonly clock: string;
  /** @param ms a parameter */
  readonly later: (ms: string, than?: string) => string;
  readonly earlier: (ms: string) => string;
  /** Epoch milliseconds, as text. */
  readonly ms: (time: string) => string;
  readonly fromMs: (ms: string) => string;
  /** From now, in milliseconds, as text; below 0 for the past. */
  readonly untilMs: (time: string) => string;
  /** For a parameter that PostgreSQL could not give a type to. */
  readonly text: (parameter: string) => string;
}

const POSTGRES: SqlTerms = {
  now: 'now()',
  clock: 'clock_timestamp()',
  later: (ms, than = 'now()') => `${than} + ${ms} * interval '1 millisecond'`,
  earlier: (ms) => `now() - ${ms} * interval '1 millisecond'`,
  ms: (time) => `floor(extract(epoch FROM ${time}) * 1000)::text`,
  fromMs: (ms) => `to_timestamp(${ms}::float8 / 1000)`,
  untilMs: (time) => `(extract(epoch FROM ${time} - now()) * 1000)::text`,
  text: (parameter) => `${parameter}::text`,
};

const EPOCH = "TIMESTAMP'1970-01-01 00:00:00'";

const MARIADB: SqlTerms = {
  now: 'UTC_TIMESTAMP(6)',
  clock: 'UTC_TIMESTAMP(6)',
  later: (ms) => `UTC_TIMESTAMP(6) + INTERVAL (${ms} * 1000) MICROSECOND`,
  earlier: (ms) => `UTC_TIMESTAMP(6) - INTERVAL (${ms} * 1000) MICROSECOND`,
  ms: (time) => `CAST(FLOOR(TIMESTAMPDIFF(MICROSECOND, ${EPOCH}, ${time}) / 1000) AS CHAR)`,
  fromMs: (ms) => `${EPOCH} + INTERVAL (${ms} * 1000) MICROSECOND`,
  untilMs: (time) => `CAST(TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), ${time}) / 1000 AS CHAR)`,
  text: (parameter) => parameter,
};

export const SQL_TERMS: Readonly<Record<SqlDialect, SqlTerms>> = { postgres: POSTGRES, mariadb: MARIADB };
