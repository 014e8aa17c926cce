import type { InjectionToken } from '@nestjs/common';

/**
 * How far outside a guarantee stands around a method; a lower layer encloses a higher one. A lock that is released
 * before the commit protects nothing, and a message that is appended after it may be lost.
 */
export const GUARANTEE_LAYERS = {
  idempotency: 10,
  lock: 20,
  ordering: 30,
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

/** One call of a decorated method. */
export interface MethodCall {
  readonly instance: object;
  /** `OrdersService.place`, for logs, spans and messages. */
  readonly name: string;
  readonly args: readonly unknown[];
  /** Runs what stands inside: further guarantees and at last the method itself. */
  readonly proceed: () => Promise<unknown>;
}

/** Keeps the promise around one call. What it returns, or throws, is what the caller gets. */
export type Around<Runtime> = (runtime: Runtime, call: MethodCall) => Promise<unknown>;

const GUARANTEES = 'lockstep:guarantees';

/** The guarantees around a method, outermost first. */
export function guaranteesOf(method: object): readonly Guarantee<unknown>[] {
  return (Reflect.getOwnMetadata(GUARANTEES, method) as Guarantee<unknown>[] | undefined) ?? [];
}

/** Notes that `guarantee` stands outside of whatever already stands around the method. */
export function recordGuarantee(method: object, guarantee: Guarantee<unknown>): void {
  Reflect.defineMetadata(GUARANTEES, [guarantee, ...guaranteesOf(method)], method);
}
