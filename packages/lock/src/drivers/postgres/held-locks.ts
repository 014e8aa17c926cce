import type { StoreLoss } from '../../lock-store.js';
import type { LockSession } from './lock-session.js';

/** A lock that a request of this process holds. */
export interface HeldLock {
  readonly key: bigint;
  readonly token: string;
  readonly isShared: boolean;
  readonly fence: bigint;
  readonly session: LockSession;
  readonly onLost: ((cause: StoreLoss) => void) | undefined;
}

/**
 * The locks of this process, by the 64 bits that Postgres knows: a session that is asked for a lock that it has gets it
 * once more, so who has what must be known before anything is sent.
 */
export class HeldLocks {
  private readonly byKey = new Map<bigint, Map<string, HeldLock>>();

  add(hold: HeldLock): void {
    const holders = this.byKey.get(hold.key) ?? new Map<string, HeldLock>();
    this.byKey.set(hold.key, holders.set(hold.token, hold));
    hold.session.holds.add(hold);
  }

  /** False when it is not there any more. */
  remove(hold: HeldLock): boolean {
    const holders = this.byKey.get(hold.key);
    if (holders?.get(hold.token) !== hold) return false;
    holders.delete(hold.token);
    if (holders.size === 0) this.byKey.delete(hold.key);
    return hold.session.holds.delete(hold);
  }

  find(key: bigint, token: string): HeldLock | undefined {
    return this.byKey.get(key)?.get(token);
  }

  of(key: bigint): readonly HeldLock[] {
    return [...(this.byKey.get(key)?.values() ?? [])];
  }

  /** Those that stand on the one lock which `session` has of `key`. */
  carriedBy(session: LockSession, key: bigint): readonly HeldLock[] {
    return this.of(key).filter((hold) => hold.session === session);
  }

  /** The session has ended: tells all whose locks it carried. */
  loseAll(session: LockSession): void {
    for (const hold of [...session.holds]) this.lose(hold, 'session');
  }

  lose(hold: HeldLock, cause: StoreLoss): void {
    if (this.remove(hold)) hold.onLost?.(cause);
  }
}
