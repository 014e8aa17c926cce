import { StoreUnavailableError } from '@lockstep/core';
import { asStoreError } from '../../drivers/postgres/pg-connection.js';
import { TransactionEndedError } from '../../sql.errors.js';

/** Cannot be reached, timed out on the way, closed by the server, no connection free. */
const UNAVAILABLE_CODES: ReadonlySet<unknown> = new Set(['P1001', 'P1002', 'P1008', 'P1017', 'P2024', 'P2037']);

/** "Transaction API error": closed, expired or not found. */
const CLOSED_CODE = 'P2028';

/**
 * What the database said, with its SQLSTATE as `code` like every other client, and the error of Prisma, which hides it, as
 * `cause`.
 */
export class PrismaStatementError extends Error {
  override readonly name = 'PrismaStatementError';

  constructor(
    readonly code: string,
    message: string,
    cause: unknown,
  ) {
    super(message, { cause });
  }
}

interface PrismaError {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly meta?: {
    readonly driverAdapterError?: {
      readonly cause?: { readonly originalCode?: unknown; readonly originalMessage?: unknown; readonly code?: unknown };
    };
  };
}

/** The error for a caller: what the database or the house would say, everything else as it is. */
export function translated(error: unknown): unknown {
  const { code, meta } = (error ?? {}) as PrismaError;
  if (code === CLOSED_CODE)
    return new TransactionEndedError('Prisma has committed it, rolled it back, or let it expire');
  const { originalCode, originalMessage } = meta?.driverAdapterError?.cause ?? {};
  if (typeof originalCode === 'string') {
    return asStoreError(
      new PrismaStatementError(originalCode, String(originalMessage), error),
      'sql.statement',
      'not-applied',
    );
  }
  if (!UNAVAILABLE_CODES.has(code)) return asStoreError(error, 'sql.statement', 'not-applied');
  return new StoreUnavailableError({
    store: 'postgres',
    operation: 'sql.statement',
    outcome: 'not-applied',
    cause: error,
  });
}
