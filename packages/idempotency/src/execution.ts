import { AsyncLocalStorage } from 'node:async_hooks';
import { OperationLostError } from './idempotency.errors.js';
import type { ErrorVerdict } from './idempotency.options.js';
import type { Claim, LeaseExpiryPolicy } from './idempotency-store.js';

/** What a handler may know of the operation it is running. */
export interface IdempotencyContext {
  /** Identity of the operation in the store. */
  readonly id: string;
  /** Rises with every new owner. A resource that refuses lower numbers than it has seen is safe from a late owner. */
  readonly fence: bigint;
  /** An earlier owner began this operation and vanished: look whether its effects are there. */
  readonly recovered: boolean;
  /** Aborts when the claim is lost: somebody else may be at it by now. */
  readonly signal: AbortSignal;
  /**
   * A step that runs once (recovery point): its result, which must be JSON, is stored before this resolves, and handed
   * out to later calls of that name, in this run or in that of a later owner. What the step rejects with passes, and the
   * step may be tried again. A crash between its effect and its being stored runs it again.
   *
   * @param step 1 to 100 characters, the same in every run
   * @throws OperationLostError when somebody else has the operation by now: this run must end
   * @throws StoreUnavailableError when the store was silent until the lease was over
   * @throws ConfigurationError where the store keeps no steps
   */
  phase<T>(step: string, fn: () => Promise<T>): Promise<T>;
}

/** The steps of one execution. */
export interface Journal {
  /** The stored result of a step of an earlier run. */
  read<T>(step: string): T | undefined;
  phase<T>(step: string, fn: () => Promise<T>): Promise<T>;
}

export interface ExecutionInit extends Claim {
  readonly operation: string;
  readonly fence: bigint;
  readonly recovered: boolean;
  readonly onLeaseExpiry: LeaseExpiryPolicy;
  readonly retentionMs: number;
  readonly onError: ErrorVerdict;
  readonly openJournal: (execution: Execution) => Journal;
  /** Monotonic milliseconds. */
  readonly leaseEndsAt: number;
  /** Monotonic milliseconds from which the lease is not renewed any more. */
  readonly renewUntil: number;
}

const running = new AsyncLocalStorage<Execution>();

/** The operation that the calling code is part of; undefined outside of an idempotent one. */
export function currentIdempotency(): IdempotencyContext | undefined {
  return running.getStore();
}

/**
 * One claim that this process holds.
 *
 * ```
 * held --we say how it ended--> settling --the store has it--> settled
 * held --the store says that somebody else has it | lease over by our clock--> lost (the signal aborts)
 * ```
 * A lost execution may still try to settle: the store decides by the owner's token.
 */
export class Execution implements IdempotencyContext, Claim {
  readonly id: string;
  readonly owner: string;
  readonly operation: string;
  readonly fence: bigint;
  readonly recovered: boolean;
  readonly onLeaseExpiry: LeaseExpiryPolicy;
  readonly retentionMs: number;
  readonly onError: ErrorVerdict;
  readonly renewUntil: number;
  /** Monotonic milliseconds from which the store may give the operation to somebody else. */
  leaseEndsAt: number;
  /** Made when somebody asks for it: most executions end before anybody does. */
  private controller: AbortController | undefined;
  private readonly openJournal: (execution: Execution) => Journal;
  /** Made when somebody has steps. */
  private opened: Journal | undefined;
  private hasLost = false;
  private isEntered = false;
  private isEnding = false;
  private running: Promise<unknown> | undefined;
  private isFollowing = false;

  constructor(init: ExecutionInit) {
    this.id = init.id;
    this.owner = init.owner;
    this.operation = init.operation;
    this.fence = init.fence;
    this.recovered = init.recovered;
    this.onLeaseExpiry = init.onLeaseExpiry;
    this.retentionMs = init.retentionMs;
    this.onError = init.onError;
    this.openJournal = init.openJournal;
    this.leaseEndsAt = init.leaseEndsAt;
    this.renewUntil = init.renewUntil;
  }

  static current(): Execution | undefined {
    return running.getStore();
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.hasLost) this.controller.abort();
    return this.controller.signal;
  }

  get isLost(): boolean {
    return this.hasLost;
  }

  /** Whether the method that does the work was called: before that, nothing can have happened. */
  get wasEntered(): boolean {
    return this.isEntered;
  }

  /** Whether the store has been told how it ended: it may know before we hear that it does. */
  get isSettling(): boolean {
    return this.isEnding;
  }

  get journal(): Journal {
    this.opened ??= this.openJournal(this);
    return this.opened;
  }

  phase<T>(step: string, fn: () => Promise<T>): Promise<T> {
    return this.journal.phase(step, fn);
  }

  startSettling(): void {
    this.isEnding = true;
  }

  /** The method that does the work, while it runs: whoever called it may have given up on it. */
  get work(): Promise<unknown> | undefined {
    return this.running;
  }

  enter(): void {
    this.isEntered = true;
  }

  /**
   * Enters, and follows the method to its end. A call of another such method from within is part of the same work.
   *
   * @throws OperationLostError when it was settled before the method was called: an interceptor gave up on a slow pipe
   */
  follow<T>(work: () => Promise<T>): Promise<T> {
    if (this.isEnding) return Promise.reject(new OperationLostError(this.operation));
    if (this.isFollowing) return work();
    this.enter();
    this.isFollowing = true;
    const followed = work();
    this.running = followed;
    const ended = (): void => {
      this.running = undefined;
      this.isFollowing = false;
    };
    void followed.then(ended, ended);
    return followed;
  }

  lose(): void {
    this.hasLost = true;
    this.controller?.abort();
  }

  /** Runs `fn`, and all that it starts, as part of this execution. */
  run<T>(fn: () => T): T {
    return running.run(this, fn);
  }
}
