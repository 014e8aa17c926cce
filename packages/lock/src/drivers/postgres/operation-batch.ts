import type { OperationKind } from './lock-statements.js';

export interface Operation {
  readonly kind: OperationKind;
  readonly key: bigint;
}

export interface OperationAnswer {
  /** The fence of what was taken, `1` for what was done, null for what was refused. */
  readonly answer: string | null;
  /** Monotonic, from before the statement was sent. */
  readonly sentAt: number;
}

export interface BatchStatement {
  /** One answer for each operation, in their order. */
  send(operations: readonly Operation[]): Promise<readonly OperationAnswer[]>;
  /** Whether nothing can be sent any more after this error. */
  isFinal(error: unknown): boolean;
  /** Ends the session: there is no other way left to give back a lock. */
  abandon(cause: unknown): void;
}

interface Pending extends Operation {
  resolve(answer: OperationAnswer): void;
  reject(error: unknown): void;
}

const MOST = 128;

export const UNDO = { take: 'give', 'take-shared': 'give-shared' } as const;

/**
 * Operations that are asked for while a statement is under way travel together in the next one. When that fails, each is
 * done on its own, so that it fails alone; what the failed statement had taken is given back first, for a lock of a
 * session outlives the statement. A lock that is to be given back is never kept: where a second try fails too, the
 * session ends.
 */
export class OperationBatch {
  private pending: Pending[] = [];

  constructor(private readonly statement: BatchStatement) {}

  add(kind: OperationKind, key: bigint): Promise<OperationAnswer> {
    return new Promise((resolve, reject) => this.pending.push({ kind, key, resolve, reject }));
  }

  /** Sends what has gathered; nothing when an earlier call took it along. */
  async flush(): Promise<void> {
    const batch = this.pending.splice(0, MOST);
    if (batch.length === 0) return;
    let answers: readonly OperationAnswer[] | undefined;
    try {
      answers = await this.statement.send(batch);
    } catch (error) {
      await this.recover(batch, error);
      return;
    }
    for (const [index, operation] of batch.entries()) operation.resolve(answers[index] ?? { answer: null, sentAt: 0 });
  }

  /** Nothing can be sent any more. */
  fail(error: unknown): void {
    for (const operation of this.pending.splice(0)) operation.reject(error);
  }

  private async recover(batch: readonly Pending[], cause: unknown): Promise<void> {
    let failure = cause;
    for (const operation of batch) {
      if (!this.statement.isFinal(failure)) failure = await this.doAlone(operation, batch.length > 1, failure);
      else operation.reject(failure);
    }
  }

  /** The last error of the session, by which to judge whether the next operation can be sent. */
  private async doAlone(operation: Pending, isOfMany: boolean, cause: unknown): Promise<unknown> {
    try {
      if (isGive(operation.kind)) {
        await this.giveAgain(operation);
        return cause;
      }
      await this.undo(operation);
      if (isOfMany) await this.again(operation);
      else operation.reject(cause);
      return cause;
    } catch (error) {
      operation.reject(error);
      return error;
    }
  }

  private async again(operation: Pending): Promise<void> {
    try {
      const [done] = await this.statement.send([operation]);
      operation.resolve(done ?? { answer: null, sentAt: 0 });
    } catch (error) {
      await this.undo(operation);
      operation.reject(error);
    }
  }

  private async giveAgain(operation: Pending): Promise<void> {
    const [done] = await this.giveForSure(operation);
    // The failed statement may have given the lock back already.
    operation.resolve({ answer: '1', sentAt: done?.sentAt ?? 0 });
  }

  private async undo({ kind, key }: Operation): Promise<void> {
    if (kind !== 'take' && kind !== 'take-shared') return;
    const give = { kind: UNDO[kind], key };
    try {
      await this.statement.send([give]);
    } catch (error) {
      if (this.statement.isFinal(error)) throw error;
      await this.giveForSure(give);
    }
  }

  /** The last try. */
  private async giveForSure(give: Operation): Promise<readonly OperationAnswer[]> {
    try {
      return await this.statement.send([give]);
    } catch (error) {
      this.statement.abandon(error);
      throw error;
    }
  }
}

function isGive(kind: OperationKind): boolean {
  return kind === 'give' || kind === 'give-shared';
}
