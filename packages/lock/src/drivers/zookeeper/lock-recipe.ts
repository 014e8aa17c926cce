import type { LockState, StoreAbilities } from '../../lock-store.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

/** A request in the eyes of a recipe, from its first step to its end. */
export interface LockClaim {
  readonly key: string;
  readonly token: string;
  readonly capacity: number;
  /** Its node, once it is known to be there. */
  path: string | undefined;
}

/**
 * How locks lie in ZooKeeper. Each step may be repeated, also when the answer to an earlier one was lost. All reject with
 * the client's error when the connection is lost on the way.
 */
export interface LockRecipe {
  readonly abilities: StoreAbilities;

  begin(claim: LockClaim): void;

  /** Nothing of the claim is left, or will be once its session has ended for ZooKeeper too. */
  finish(claim: LockClaim, session: ZooKeeperSession | undefined): void;

  /**
   * Puts the claim's node where it is not there yet.
   * @returns the paths to watch, of which one is gone by the time the claim may have the lock; none: it has it
   */
  step(session: ZooKeeperSession, claim: LockClaim): Promise<readonly string[]>;

  /** Finds the node of a claim that may have one without knowing; undefined when there is none. */
  find(session: ZooKeeperSession, claim: LockClaim): Promise<string | undefined>;

  /**
   * Takes the claim's node away, of whatever session it is.
   * @returns false when it was not there
   */
  remove(session: ZooKeeperSession, claim: LockClaim): Promise<boolean>;

  inspect(session: ZooKeeperSession, key: string): Promise<LockState>;
}
