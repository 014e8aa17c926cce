/**
 * The revocation epochs of users: a number each, which grows whenever all sessions of that user are to end. A session
 * that is kept by its client carries the epoch of its login, and is refused once the user's is higher. So no clock of a
 * client or process has a part in it.
 *
 * Both methods reject with `StoreUnavailableError` when the store does not answer in time, and may be called twice.
 */
export interface EpochStore {
  /** The user's epoch; 0 for one who has none, or none any more. */
  read(group: string): Promise<number>;
  /**
   * Gives the user a higher epoch than he ever had, and forgets it after `ttlMs`, when everything from before has run
   * out by itself. The next one is higher all the same: it comes from the store's clock.
   *
   * @param ttlMs longer than any session lives
   * @returns a whole number above 0
   */
  bump(group: string, ttlMs: number): Promise<number>;
}
