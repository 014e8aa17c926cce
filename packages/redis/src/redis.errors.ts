import { isLockstepError, LockstepError, StoreUnavailableError } from '@lockstep/core';

/**
 * A script raised an error for one item: a key of a foreign type, a server that is out of memory. What the server said
 * is the `cause`, for the log: the message reaches the client.
 */
export class RedisScriptError extends LockstepError {
  constructor(script: string, cause: Error) {
    super({
      code: 'REDIS_SCRIPT_FAILED',
      kind: 'unknown',
      message: `Redis script ${script} failed`,
      cause,
      fields: { script },
    });
  }
}

/** Refusals that the server gives before it executes anything, because it cannot or may not serve just now. */
const REFUSED =
  /^(LOADING|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|MOVED|ASK|BUSY|OOM|MISCONF|NOREPLICAS|NOAUTH|NOPERM|WRONGPASS) /;
/** A script met a key that is on its way to another server: a slot is being moved. It had begun, unlike with {@link REFUSED}. */
const BEING_MOVED = /non local key in a cluster node/;
/** What a command that was refused here says. */
export const NOT_SENT = 'Not sent: there is no connection';
/** What ioredis, with the offline queue off, and {@link NOT_SENT} say before anything is written. */
const NEVER_SENT = /^(Stream isn't writeable|Not sent:)/;

export function isReplyError(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

/** Whether a write met a server that was a master once and follows another one now. */
export function isDemotion(reply: unknown): boolean {
  return isReplyError(reply) && reply.message.startsWith('READONLY ');
}

function isUnavailability(message: string): boolean {
  return REFUSED.test(message) || BEING_MOVED.test(message);
}

/** Whether the script itself raised, rather than the server refusing to run it. */
export function isScriptFailure(error: unknown): error is Error {
  return isReplyError(error) && !isUnavailability(error.message);
}

/** Whether the server does not know the script: then it has not executed anything either. */
export function isUnknownScript(error: unknown): boolean {
  return isReplyError(error) && error.message.startsWith('NOSCRIPT');
}

/** The error of a command as a whole. */
export function commandError(operation: string, cause: unknown): LockstepError {
  if (isLockstepError(cause)) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  const notApplied = isReplyError(cause) ? REFUSED.test(message) : NEVER_SENT.test(message);
  return new StoreUnavailableError({
    store: 'redis',
    operation,
    outcome: notApplied ? 'not-applied' : 'unknown',
    cause,
  });
}

/** The error of one item of a script call. */
export function itemError(script: string, cause: Error): LockstepError {
  if (!isUnavailability(cause.message)) return new RedisScriptError(script, cause);
  return new StoreUnavailableError({ store: 'redis', operation: script, outcome: 'unknown', cause });
}
