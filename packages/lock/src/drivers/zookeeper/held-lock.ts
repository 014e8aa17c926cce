import type { StoreLoss } from '../../lock-store.js';
import type { LockClaim } from './lock-recipe.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

/**
 * ```
 * held --node gone | session silent or ended--> lost
 * held | lost --release--> over
 * ```
 */
export class HeldLock {
  private lossCause: StoreLoss | undefined;
  private isOver = false;

  constructor(
    readonly claim: LockClaim,
    readonly session: ZooKeeperSession,
    readonly fence: bigint,
    private readonly onLost: ((cause: StoreLoss) => void) | undefined,
  ) {}

  get loss(): StoreLoss | undefined {
    return this.lossCause;
  }

  /** Nobody is told of a loss any more. */
  end(): void {
    this.isOver = true;
  }

  lose(cause: StoreLoss): void {
    if (this.lossCause || this.isOver) return;
    this.lossCause = cause;
    this.onLost?.(cause);
  }
}
