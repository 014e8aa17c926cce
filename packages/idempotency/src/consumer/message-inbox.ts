export const MESSAGE_INBOX = Symbol('@lockstep/idempotency:MESSAGE_INBOX');

/** What became of one copy of a message. */
export type HandledMessage<T> = { readonly isFirst: true; readonly result: T } | { readonly isFirst: false };

/** Port: remembers which messages took effect, in the transaction of their effect. */
export interface MessageInbox {
  /**
   * Runs `effect`, unless `consumer` remembers the message, in a transaction that everything it awaits can find, together
   * with the memory: both are there or neither is.
   *
   * - Resolves after the commit, where it has begun the transaction; one that was open is joined and ended by its owner.
   * - Rejects with what `effect` throws, by identity, after everything was rolled back: the next copy is the first.
   * - While another transaction handles a copy, waits for its end.
   *
   * @throws StoreUnavailableError when the database does not answer: nothing was applied
   * @throws CommitOutcomeUnknownError when the answer to COMMIT was lost; the next copy finds out
   */
  once<T>(consumer: string, messageId: string, effect: () => Promise<T>): Promise<HandledMessage<T>>;
}
