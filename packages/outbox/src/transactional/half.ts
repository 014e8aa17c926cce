import type { SqlTransaction } from '@lockstep/sql';
import type { PreparedMessageStore } from './prepared-message-store.js';
import { MessageAlreadyRolledBackError, TransactionalMessageMisuseError } from './transactional.errors.js';

/** A half message in the hands of the work that it is about. */
export interface Half {
  /** Of the message, once it is published. */
  readonly id: string;
  /**
   * Makes the commit of `tx` the decision: the message is published exactly when it commits. Call it as early in the
   * transaction as can be, because a check that finds nothing rolls the message back; await it.
   *
   * @throws MessageAlreadyRolledBackError when that has happened, or `deadline` has passed: `tx` must be rolled back
   */
  join(tx: SqlTransaction): Promise<void>;
}

/**
 * ```
 * apart --join--> joined --the transaction commits, observed--> committed
 *       --join, too late--> refused
 * any   --the work has ended--> closed: nothing joins any more
 * ```
 */
export class JoinableHalf implements Half {
  private joinedBy: 'nobody' | 'joined' | 'committed' | 'refused' = 'nobody';
  private closed = false;

  constructor(
    readonly id: string,
    private readonly deadline: number,
    private readonly store: PreparedMessageStore,
    readonly takesPart: boolean,
  ) {}

  get state(): 'nobody' | 'joined' | 'committed' | 'refused' {
    return this.joinedBy;
  }

  async join(tx: SqlTransaction): Promise<void> {
    this.assertJoinable();
    this.joinedBy = 'joined';
    if (await this.store.join(tx, this.id, this.deadline)) {
      // What is undone with a savepoint forgets this hook along with the tombstone.
      tx.afterCommit?.(() => {
        this.joinedBy = 'committed';
      });
      return;
    }
    this.joinedBy = 'refused';
    throw new MessageAlreadyRolledBackError(this.id, 'the transaction that was to commit it must be rolled back.');
  }

  close(): void {
    this.closed = true;
  }

  private assertJoinable(): void {
    if (!this.takesPart) {
      throw new TransactionalMessageMisuseError(
        'This message has a check, which decides about it; no transaction can join it. Leave out the check, or the join.',
      );
    }
    if (this.closed) {
      throw new TransactionalMessageMisuseError('The work of this message has ended. Await what joins it.');
    }
    if (this.joinedBy !== 'nobody') {
      throw new TransactionalMessageMisuseError('One transaction decides about a message, and one has joined already.');
    }
  }
}
