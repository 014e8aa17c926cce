import { SOCKET_CODES } from '../socket-codes.js';

/** Shutting down, crashed, starting up, too many connections. */
const UNAVAILABLE_CODES = new Set(['57P01', '57P02', '57P03', '53300']);

/** The server ends the session over a limit: idle too long, in a transaction too long, or its database was dropped. */
const SESSION_END_CODES = new Set(['25P03', '25P04', '57P04', '57P05']);

/** By class: disk full, I/O error, internal error. They may stop the server after it has written the commit. */
const DOUBTFUL_CLASSES = new Set(['53', '58', 'XX']);

/** A statement whose values do not fit it has the code of a broken protocol, but the session goes on. */
const PROTOCOL_VIOLATION = '08P01';
const READS_VALUES = /^(exec_bind_message$|pq_)/;

/** `pg` gives the loss of a connection no code; these are the beginnings of its messages. */
const CLIENT_MESSAGES = [
  'Connection terminated',
  'Client was closed and is not queryable',
  'Client has encountered a connection error and is not queryable',
  'Cannot use a pool after calling end on the pool',
  'timeout exceeded when trying to connect',
  'timeout expired',
  'Query read timeout',
];

/** No answer within the time. */
export class PgTimeoutError extends Error {
  override readonly name = 'PgTimeoutError';

  constructor(timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms`);
  }
}

/** The connection had failed before the statement could be sent. */
export class PgConnectionLostError extends Error {
  override readonly name = 'PgConnectionLostError';

  constructor(cause: Error) {
    super(`the connection was lost: ${cause.message}`, { cause });
  }
}

/** Whether the server could not be reached or was lost, as opposed to having answered that it refuses. */
export function isConnectionFailure(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  if (error instanceof PgTimeoutError || error instanceof PgConnectionLostError) return true;
  const code = codeOf(error);
  if (code === PROTOCOL_VIOLATION && isMisfit(error)) return false;
  if (code !== undefined) return SOCKET_CODES.has(code) || UNAVAILABLE_CODES.has(code) || /^08...$/.test(code);
  return CLIENT_MESSAGES.some((message) => error.message.startsWith(message));
}

/** Whether a connection that was open is gone after this error. */
export function endsConnection(error: unknown): error is Error {
  return isConnectionFailure(error) || (error instanceof Error && SESSION_END_CODES.has(codeOf(error) ?? ''));
}

/**
 * Whether the server answered COMMIT by refusing it, so that nothing was applied. Judged by the code alone: the
 * severity comes in the language of the server.
 */
export function isCommitRefusal(error: unknown): boolean {
  if (!(error instanceof Error) || endsConnection(error)) return false;
  const code = codeOf(error);
  // 40003 is the server saying that it does not know either.
  if (code === undefined || !/^[0-9A-Z]{5}$/.test(code) || code === '40003') return false;
  return 'severity' in error && !DOUBTFUL_CLASSES.has(code.slice(0, 2));
}

/** Said by the server itself, where it reads the values; a pooler names no place in the source of Postgres. */
function isMisfit(error: Error): boolean {
  const { routine } = error as { readonly routine?: unknown };
  return typeof routine === 'string' && READS_VALUES.test(routine);
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : undefined;
}
