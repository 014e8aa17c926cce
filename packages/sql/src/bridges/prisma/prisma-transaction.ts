import { ExplicitTransaction, type StatementResult, type Wanted } from '../../drivers/explicit-transaction.js';
import type { SqlTransaction } from '../../sql-transaction.js';
import { refuse } from '../library-transaction.js';
import { translated } from './prisma-errors.js';

/** What is needed of the `tx` of `prisma.$transaction(…)`; a type by shape, for every generated client has its own. */
export interface PrismaTransactionLike {
  // biome-ignore lint/suspicious/noExplicitAny: the library's own promise is generic
  $queryRawUnsafe(text: string, ...values: any[]): PromiseLike<any>;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  $executeRawUnsafe(text: string, ...values: any[]): PromiseLike<number>;
}

const handles = new WeakMap<object, PrismaTransaction>();

/**
 * A handle on an open interactive transaction of Prisma 7 on Postgres with a driver adapter:
 * `prisma.$transaction(async (tx) => …)`. Prisma ends it, also when its `timeout` (5 s by default) is over.
 *
 * Values come as `pg` gives them, except that Prisma reads no `interval` and no types of its own making: cast those to
 * text. An error of the database is a `PrismaStatementError`.
 *
 * @throws TransactionMisuseError when it is a `PrismaClient` itself, or of another database
 */
export function prismaTransaction(tx: PrismaTransactionLike): SqlTransaction {
  const { _activeProvider: provider } = (tx ?? {}) as { readonly _activeProvider?: unknown };
  // Only the client itself connects; inside of a transaction the library takes that away.
  if (typeof tx?.$queryRawUnsafe !== 'function' || '$connect' in tx) {
    refuse(tx, 'the tx of prisma.$transaction(async (tx) => …)');
  }
  if (provider !== 'postgresql') refuse(tx, `a transaction of Prisma on postgresql, not ${String(provider)}`);
  let handle = handles.get(tx);
  if (!handle) {
    handle = new PrismaTransaction(tx);
    handles.set(tx, handle);
  }
  return handle;
}

/** Prisma itself refuses what comes after the end: its adapter gives the connection back with the transaction. */
class PrismaTransaction extends ExplicitTransaction {
  readonly dialect = 'postgres';

  constructor(private readonly tx: PrismaTransactionLike) {
    super();
  }

  protected async send(text: string, params: readonly unknown[], wanted: Wanted): Promise<StatementResult> {
    // `undefined` is NULL, as it is to every other client.
    const values = params.map((param) => param ?? null);
    try {
      if (wanted === 'affected') return { rows: [], affected: await this.tx.$executeRawUnsafe(text, ...values) };
      const rows = (await this.tx.$queryRawUnsafe(text, ...values)) as Record<string, unknown>[];
      return { rows: rows.map(asPgRow), affected: rows.length };
    } catch (error) {
      throw translated(error);
    }
  }
}

function asPgRow(row: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, asPgValue(value)]));
}

/** 64 bits and decimals are text to `pg`, and bytes a Buffer. */
function asPgValue(value: unknown): unknown {
  if (typeof value === 'bigint' || isDecimal(value)) return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return Array.isArray(value) ? value.map(asPgValue) : value;
}

function isDecimal(value: unknown): boolean {
  const { toFixed } = (value ?? {}) as { readonly toFixed?: unknown };
  return typeof value === 'object' && typeof toFixed === 'function';
}
