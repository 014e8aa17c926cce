import { LockstepError } from '@lockstep/core';

/**
 * The resource was touched under a greater fence: the lock has passed on, and nothing was read or written under this
 * one. The same call will never succeed; the holder has to stop. HTTP 409.
 */
export class StaleFenceError extends LockstepError {
  constructor(
    /** The fence of whoever was refused. */
    readonly fence: bigint,
    /** The greater one. */
    readonly seen: bigint,
    /** What is guarded, where it has a name. */
    readonly resource?: string,
  ) {
    const what = resource === undefined ? 'The resource' : `'${resource}'`;
    super({
      code: 'STALE_FENCE',
      kind: 'conflict',
      message: `${what} was touched under fence ${seen}, so fence ${fence} is refused: its lock has passed on`,
      fields: { ...(resource === undefined ? {} : { resource }), fence: fence.toString(), seen: seen.toString() },
    });
  }
}

/** A guard was asked in a way that would protect nothing. Nothing was sent, unless the message says otherwise. */
export class FenceMisuseError extends LockstepError {
  constructor(message: string) {
    super({ code: 'FENCE_MISUSE', kind: 'misuse', message });
  }
}
