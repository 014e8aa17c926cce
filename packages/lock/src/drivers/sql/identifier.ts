import type { SqlDialect } from '@lockstep/sql';
import { FenceMisuseError } from '../../fence/fence.errors.js';

const QUOTE: Record<SqlDialect, string> = { postgres: '"', mariadb: '`' };
/** In bytes. Postgres cuts longer names off and takes another table or column; MariaDB has 64 characters. */
const LONGEST = 63;
const CONTROL = /[\p{Cc}\p{Surrogate}]/u;

/**
 * A name as the database has it, quoted, so that it can be nothing but a name.
 *
 * @throws FenceMisuseError when no table or column can have it
 */
export function quotedName(dialect: SqlDialect, name: string): string {
  if (typeof name !== 'string' || name === '' || Buffer.byteLength(name) > LONGEST || CONTROL.test(name)) {
    throw new FenceMisuseError(
      `The name of a table or column has 1 to ${LONGEST} bytes and no control characters; got ${JSON.stringify(name)}.`,
    );
  }
  const quote = QUOTE[dialect];
  return `${quote}${name.replaceAll(quote, quote + quote)}${quote}`;
}

/** `account` or `bank.account`, where the first part is the schema. @throws as {@link quotedName} */
export function quotedTable(dialect: SqlDialect, table: string): string {
  const parts = typeof table === 'string' ? table.split('.') : [];
  if (parts.length < 1 || parts.length > 2) {
    throw new FenceMisuseError(`A fenced table is 'table' or 'schema.table'; got ${JSON.stringify(table)}.`);
  }
  return parts.map((part) => quotedName(dialect, part)).join('.');
}
