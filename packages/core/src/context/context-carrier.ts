/** Headers that travel with a message or a job. Names are compared as written. */
export type CarriedHeaders = Record<string, string>;

/**
 * Takes one piece of context from the place where a message is made to the place where it is handled: the session's
 * user, a transaction id, a trace.
 */
export interface ContextCarrier {
  /** For logs; one carrier a name. */
  readonly name: string;
  /** Writes what it carries into `headers`; nothing when there is nothing to carry. Must not throw. */
  inject(headers: CarriedHeaders): void;
  /**
   * Runs `fn` in the context that `headers` describe, or as it is when they hold none. Headers come from outside: what
   * is not proven (signature, bounds) must be ignored.
   */
  run<T>(headers: Readonly<CarriedHeaders>, fn: () => T): T;
}
