import type { StatementResult } from '../explicit-transaction.js';
import type { MariaDbClient, MariaDbQueryOptions } from './mariadb-client.js';
import { toPositional } from './placeholders.js';

/** 64 bits do not fit into a number, and a date without its zone not into a Date: both come as text. */
const READING = {
  rowsAsArray: false,
  nestTables: false,
  namedPlaceholders: false,
  typeCast: true,
  supportBigNumbers: true,
  bigNumberStrings: true,
  decimalNumbers: false,
  dateStrings: true,
};

const STATUS_IN_TRANSACTION = 1;

export interface MariaDbResult extends StatementResult {
  /** False when the server says that no transaction is open any more; it does not say so with rows. */
  readonly inTransaction: boolean | undefined;
}

interface Header {
  readonly affectedRows?: number | string;
  readonly serverStatus?: number;
}

/**
 * Runs one statement with `$n` placeholders. With parameters it is prepared by the server, so that no value is ever part
 * of the text; without, it is sent as it is.
 */
export async function runStatement(
  client: MariaDbClient,
  text: string,
  params: readonly unknown[],
): Promise<MariaDbResult> {
  if (params.length === 0) return resultOf(await client.query({ ...READING, sql: text } satisfies MariaDbQueryOptions));
  const options: MariaDbQueryOptions = { ...READING, ...toPositional(text, params) };
  return resultOf(await client.execute(options));
}

/** `[rows or header, fields]`; a procedure gives a list of results, of which the last rows and the last header speak. */
function resultOf(answer: unknown): MariaDbResult {
  const [result] = answer as [unknown];
  if (!Array.isArray(result)) return headerResult(result as Header);
  const isList = result.some((each) => Array.isArray(each));
  if (!isList) return { rows: result, affected: result.length, inTransaction: undefined };
  const rows = result.findLast((each) => Array.isArray(each)) as unknown[];
  const header = result.findLast((each) => !Array.isArray(each)) as Header | undefined;
  return { ...headerResult(header ?? {}), rows };
}

function headerResult({ affectedRows = 0, serverStatus }: Header): MariaDbResult {
  const inTransaction = serverStatus === undefined ? undefined : (serverStatus & STATUS_IN_TRANSACTION) !== 0;
  return { rows: [], affected: Number(affectedRows), inTransaction };
}
