import { SOCKET_CODES } from '../socket-codes.js';

/** By number, because some have no SQLSTATE of their own: too many connections, shutting down, killed, packets lost. */
const UNAVAILABLE_NUMBERS = new Set([1040, 1043, 1053, 1077, 1078, 1079, 1129, 1152, 1184, 1203, 1226, 1927, 4031]);

/** `mysql2` gives these no code; they are the beginnings of its messages. */
const CLIENT_MESSAGES = [
  'Connection lost',
  "Can't add new command when connection is in closed state",
  "Can't write in closed state",
  'Pool is closed',
  'No connections available',
  'Queue limit reached',
];

/** COMMIT refused because the server is, or became, read-only. */
const READ_ONLY_NUMBERS = new Set([1290, 1792, 1836]);

/** No answer within the time. */
export class MariaDbTimeoutError extends Error {
  override readonly name = 'MariaDbTimeoutError';

  constructor(timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms`);
  }
}

/** The connection had failed before the statement could be sent. */
export class MariaDbConnectionLostError extends Error {
  override readonly name = 'MariaDbConnectionLostError';

  constructor(cause: Error) {
    super(`the connection was lost: ${cause.message}`, { cause });
  }
}

/** Whether the server could not be reached or was lost, as opposed to having answered that it refuses. */
export function endsConnection(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  if (error instanceof MariaDbTimeoutError || error instanceof MariaDbConnectionLostError) return true;
  const { code, errno, sqlState, fatal } = error as ServerError;
  if (typeof errno === 'number' && typeof sqlState === 'string') {
    return UNAVAILABLE_NUMBERS.has(errno) || sqlState.startsWith('08');
  }
  // What is fatal to mysql2 and does not come from the server is a socket that failed or a protocol that broke.
  if (fatal === true) return true;
  if (typeof code === 'string') return SOCKET_CODES.has(code) || code.startsWith('PROTOCOL_');
  return CLIENT_MESSAGES.some((message) => error.message.startsWith(message));
}

/**
 * Whether the server answered COMMIT by refusing it, so that nothing was applied: it lost a conflict, or may not write.
 * Every other error of COMMIT leaves it open; a full disk or a shutdown may come after the commit was written.
 */
export function isCommitRefusal(error: unknown): boolean {
  if (!(error instanceof Error) || endsConnection(error)) return false;
  const { errno, sqlState } = error as ServerError;
  if (typeof errno !== 'number' || typeof sqlState !== 'string') return false;
  return /^(?:23|40)/.test(sqlState) || READ_ONLY_NUMBERS.has(errno);
}

/** What `mysql2` adds to an error; number and state where the server sent it. */
interface ServerError {
  readonly code?: unknown;
  readonly errno?: unknown;
  readonly sqlState?: unknown;
  readonly fatal?: unknown;
}
