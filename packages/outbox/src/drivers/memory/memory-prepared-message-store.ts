import { ConfigurationError, isLockstepError } from '@lockstep/core';
import type { SqlTransaction } from '@lockstep/sql';
import type { MessageEnvelope } from '../../message.js';
import type { OutboxRecord } from '../../outbox-store.js';
import type {
  CheckAnswer,
  DecisionOutcome,
  DueCheck,
  DueRequest,
  HalfMessage,
  HalfState,
  OpenState,
  PreparedFacts,
  PreparedMessageStore,
  UndecidedMessage,
  UndecidedQuery,
  WaitingChecker,
} from '../../transactional/prepared-message-store.js';

interface Half extends HalfMessage {
  readonly message: MessageEnvelope;
  readonly preparedAt: number;
  state: HalfState;
  checksDone: number;
  nextCheckAt: number;
  decidedAt: number;
}

const COUNT_LIMIT = 10_000;
const BATCH = 1_000;

/**
 * {@link PreparedMessageStore} in the memory of this process. It hears of the commit of a transaction that joins, and
 * asks the transaction whether it was rolled back. A message whose join was undone with a savepoint alone stays unknown.
 *
 * @param append puts a committed message into the outbox, at once
 * @param now epoch milliseconds
 */
export class MemoryPreparedMessageStore implements PreparedMessageStore {
  private readonly halves = new Map<string, Half>();
  private readonly tombstones = new Map<string, CheckAnswer>();
  private readonly joined = new Map<string, SqlTransaction>();

  constructor(
    private readonly append: (record: OutboxRecord) => void,
    private readonly now: () => number = () => Date.now(),
  ) {}

  async prepare(half: HalfMessage): Promise<number> {
    const preparedAt = this.now();
    const message = { ...half.record.message, publishedAt: preparedAt };
    this.halves.set(message.id, {
      ...half,
      message,
      preparedAt,
      state: 'prepared',
      checksDone: 0,
      nextCheckAt: preparedAt + half.checkAfterMs,
      decidedAt: 0,
    });
    return preparedAt + half.joinWithinMs;
  }

  async commit(id: string, from: OpenState): Promise<DecisionOutcome> {
    const outcome = this.decide(id, from, 'committed');
    const half = this.halves.get(id);
    if (outcome.decided && half) this.append(half.record);
    return outcome;
  }

  async rollback(id: string, from: OpenState): Promise<DecisionOutcome> {
    return this.decide(id, from, 'rolled-back');
  }

  /** @throws ConfigurationError when the transaction cannot be observed: nobody would learn of its commit */
  async join(transaction: SqlTransaction, id: string, deadline: number): Promise<boolean> {
    if (!transaction.afterCommit) {
      throw new ConfigurationError(
        'The memory driver of the outbox needs a transaction with afterCommit: begin it by sql.transaction(…).',
      );
    }
    if (this.tombstones.has(id) || this.now() >= deadline) return false;
    this.tombstones.set(id, 'unknown');
    this.joined.set(id, transaction);
    transaction.afterCommit(() => this.bury(id, 'commit'));
    return true;
  }

  async standing(id: string): Promise<CheckAnswer> {
    const half = this.halves.get(id);
    const transaction = this.joined.get(id);
    if (transaction && wasRolledBack(transaction)) this.bury(id, 'rollback');
    if (half && isOpen(half) && !this.tombstones.has(id)) this.tombstones.set(id, 'rollback');
    return this.tombstones.get(id) ?? 'unknown';
  }

  async waiting(): Promise<readonly WaitingChecker[]> {
    const oldest = new Map<string, number>();
    for (const { checker, nextCheckAt } of this.dueAt(this.now())) {
      if (!oldest.has(checker)) oldest.set(checker, nextCheckAt);
    }
    return [...oldest].map(([checker, dueSince]) => ({ checker, dueSince }));
  }

  async due({ checker: asked, limit }: DueRequest): Promise<readonly DueCheck[]> {
    const now = this.now();
    const due = this.dueAt(now).filter(({ checker }) => checker === asked);
    return due.slice(0, limit).map((half) => {
      half.checksDone += 1;
      half.nextCheckAt = now + half.checkEveryMs;
      const { message, checker, checksDone, checks, preparedAt, maxAgeMs } = half;
      return { message, checker, isLast: checksDone >= checks, isYoung: now < preparedAt + maxAgeMs };
    });
  }

  async park(id: string): Promise<boolean> {
    const half = this.halves.get(id);
    if (half?.state !== 'prepared') return false;
    half.state = 'undecided';
    return true;
  }

  async resume(id: string): Promise<boolean> {
    const half = this.halves.get(id);
    if (half?.state !== 'undecided') return false;
    half.state = 'prepared';
    half.checksDone = 0;
    half.nextCheckAt = this.now();
    return true;
  }

  async undecided({ after = '', limit }: UndecidedQuery): Promise<readonly UndecidedMessage[]> {
    return this.inState('undecided')
      .filter(({ message }) => message.id > after)
      .sort((a, b) => (a.message.id < b.message.id ? -1 : 1))
      .slice(0, limit)
      .map(({ message, checker, checksDone }) => ({ message, checker, checks: checksDone }));
  }

  async checkerOf(id: string): Promise<string | undefined> {
    const half = this.halves.get(id);
    return half?.state === 'undecided' ? half.checker : undefined;
  }

  async facts(): Promise<PreparedFacts> {
    const prepared = this.inState('prepared');
    const now = this.now();
    return {
      prepared: Math.min(prepared.length, COUNT_LIMIT),
      undecided: Math.min(this.inState('undecided').length, COUNT_LIMIT),
      oldestPreparedMs: prepared.reduce((oldest, { preparedAt }) => Math.max(oldest, now - preparedAt), 0),
    };
  }

  async purge(olderThanMs: number): Promise<number> {
    const now = this.now();
    const old = [...this.halves.values()].filter(
      (half) => !isOpen(half) && half.decidedAt < now - olderThanMs && half.preparedAt + half.joinWithinMs < now,
    );
    for (const { message } of old.slice(0, BATCH)) {
      this.halves.delete(message.id);
      this.tombstones.delete(message.id);
      this.joined.delete(message.id);
    }
    return Math.min(old.length, BATCH);
  }

  private bury(id: string, decision: CheckAnswer): void {
    this.joined.delete(id);
    this.tombstones.set(id, decision);
  }

  private decide(id: string, from: OpenState, to: HalfState): DecisionOutcome {
    const half = this.halves.get(id);
    if (!half) return { decided: false, state: undefined, shard: undefined, delayMs: 0 };
    const decided = half.state === from;
    if (decided) {
      half.state = to;
      half.decidedAt = this.now();
    }
    return { decided, state: half.state, shard: half.record.shard, delayMs: half.record.delayMs };
  }

  /** The oldest first. */
  private dueAt(now: number): Half[] {
    const due = this.inState('prepared').filter(({ nextCheckAt }) => nextCheckAt <= now);
    return due.sort((a, b) => a.nextCheckAt - b.nextCheckAt);
  }

  private inState(state: HalfState): Half[] {
    return [...this.halves.values()].filter((half) => half.state === state);
  }
}

/** A transaction that has ended refuses a hook, and says how it ended. */
function wasRolledBack(transaction: SqlTransaction): boolean {
  try {
    transaction.afterCommit?.(() => undefined);
  } catch (error) {
    return isLockstepError(error) && error.code === 'TRANSACTION_ENDED' && error.fields?.state === 'rolled-back';
  }
  return false;
}

function isOpen({ state }: Half): boolean {
  return state === 'prepared' || state === 'undecided';
}
