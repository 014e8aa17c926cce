import type { InjectionToken } from '@nestjs/common';

/**
 * How far outside a guarantee stands around a method; a lower layer encloses a higher one. A lock that is released
 * before the commit protects nothing, and a message that is appended after it may be lost.
 */
export const GUARANTEE_LAYERS = {
  idempotency: 10,
  lock: 20,
  ordering: 30,
  /** A message that is prepared, durably, before the transaction that decides about it begins. */
  'transactional-message': 32,
  /** Idempotency whose claim, effect and answer are one transaction: it *is* the transaction, so a lock encloses it. */
  'transactional-idempotency': 35,
  transaction: 40,
  outbox: 50,
} as const;

export type GuaranteeLayer = keyof typeof GUARANTEE_LAYERS;

/** What is the same for every use of one decorator. */
export interface Guarantee<Runtime> {
  /** The decorator's name, without the at sign. */
  readonly name: string;
  readonly layer: GuaranteeLayer;
  /** Token of the service that keeps the promise. */
  readonly runtime: InjectionToken<Runtime>;
  /** What the user must import, as it is written: `LockModule.forRoot(…)`. */
  readonly module: string;
}

/** A call of a decorated method. */
export interface GuardedCall {
  readonly instance: object;
  /** `OrdersService.place`, for logs, spans and messages. */
  readonly name: string;
  readonly args: readonly unknown[];
}

/** One call of a method that returns a promise. */
export interface MethodCall extends GuardedCall {
  /** Runs what stands inside: further guarantees and at last the method itself, called with `args` where given. */
  readonly proceed: (args?: readonly unknown[]) => Promise<unknown>;
}

/** Keeps the promise around one call. What it returns, or throws, is what the caller gets. */
export type Around<Runtime> = (runtime: Runtime, call: MethodCall) => Promise<unknown>;

/** One subscription to an Observable, or one run of a generator. */
export interface StreamCall extends GuardedCall {
  /** Aborts when the consumer leaves; whatever the call still waits for is then not wanted any more. */
  readonly signal: AbortSignal;
}

export type CallOutcome =
  | { readonly status: 'completed'; readonly result: unknown }
  | { readonly status: 'failed'; readonly error: unknown }
  /** The subscriber left before the end. */
  | { readonly status: 'abandoned' };

/** The promise, kept around work that runs in pieces: those between two values of a stream. */
export interface CallScope {
  /** What the method is called with in place of the arguments of the call. */
  readonly args?: readonly unknown[];
  /** Runs one piece within the promise; what it awaits belongs to it. */
  run<T>(fn: () => T): T;
  /** Ends it, once. Rejects only where the work completed; the consumer then gets that error instead of the end. */
  close(outcome: CallOutcome): Promise<void>;
}

/** Keeps the promise around methods of every form. */
export interface Keeping<Runtime> {
  readonly around: Around<Runtime>;
  /** The same for streams: what it rejects with is the stream's error. */
  readonly open: (runtime: Runtime, call: StreamCall) => Promise<CallScope>;
  /** Says that the method returns an Observable, where metadata does not. */
  readonly returns?: 'observable' | undefined;
}

const GUARANTEES = 'lockstep:guarantees';

/** The guarantees around a method, outermost first. */
export function guaranteesOf(method: object): readonly Guarantee<unknown>[] {
  return (Reflect.getOwnMetadata(GUARANTEES, method) as Guarantee<unknown>[] | undefined) ?? [];
}

/** Notes that `guarantee` stands outside of whatever already stands around the method. */
export function recordGuarantee(method: object, guarantee: Guarantee<unknown>): void {
  Reflect.defineMetadata(GUARANTEES, [guarantee, ...guaranteesOf(method)], method);
}
