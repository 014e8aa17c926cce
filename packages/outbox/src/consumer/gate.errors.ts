import { types } from 'node:util';
import { LockstepError } from '@lockstep/core';
import type { Message } from '../message.js';
import { sequenceText } from '../sequence.js';
import type { Place } from './turn.js';

/** A strict message came before one that it must follow. Rolls back what was begun for it; comes again later. */
export class OutOfTurnError extends LockstepError {
  constructor(
    readonly place: Place,
    /** The last one that took effect. */
    readonly last: string,
  ) {
    super({
      code: 'MESSAGE_OUT_OF_TURN',
      kind: 'busy',
      message: `It is ${sequenceText(place.sequence)} of its key, and the last one that took effect is ${last}.`,
    });
  }
}

/**
 * Its turn is over, and the inbox does not know it: a counter or a position was lost or restored, or the inbox has
 * forgotten. Taking it for a copy would lose it in silence.
 */
export class OutOfSequenceError extends LockstepError {
  constructor(
    readonly id: Message['id'],
    place: Place,
    last: string,
  ) {
    super({
      code: 'MESSAGE_OUT_OF_SEQUENCE',
      kind: 'conflict',
      message:
        `It is ${sequenceText(place.sequence)} of its key, the last one that took effect is ${last}, and the inbox ` +
        'does not know it: the counter of the key or its position was lost or restored, or the inbox has forgotten it after ' +
        'inboxRetention. This delivery had no effect; an earlier one may have had.',
    });
  }
}

// A handler may throw anything, also what throws when it is looked at; a native error is none of those.
export function isOutOfTurn(error: unknown): error is OutOfTurnError {
  return types.isNativeError(error) && error instanceof OutOfTurnError;
}

export function isOutOfSequence(error: unknown): error is OutOfSequenceError {
  return types.isNativeError(error) && error instanceof OutOfSequenceError;
}
