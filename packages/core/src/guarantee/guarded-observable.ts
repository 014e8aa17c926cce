import { AsyncLocalStorage } from 'node:async_hooks';
import { isObservable, Observable, Subject, type Subscriber, takeUntil } from 'rxjs';
import { ConfigurationError } from '../errors/configuration.error.js';
import type { CallOutcome, CallScope } from './guarantee.js';

/** What a wrapper knows of one call whose result is a stream. */
export interface StreamSource {
  /** `OrdersService.watch` */
  readonly name: string;
  open(signal: AbortSignal): Promise<CallScope>;
  /** Calls the method. */
  call(scope: CallScope): unknown;
}

/** Cold, as what it stands for: each subscription opens a scope and calls the method. */
export function guardedObservable(source: StreamSource): Observable<unknown> {
  return new Observable((subscriber) => {
    const run = new GuardedSubscription(source, subscriber);
    void run.start();
    return () => run.leave();
  });
}

/**
 * ```
 * opening --scope--> subscribed --complete | error--> closing --closed--> complete | error
 *         --left--> aborted     --left--> closing, and the subscriber hears nothing
 * ```
 */
class GuardedSubscription {
  private readonly leaving = new AbortController();
  private readonly left = new Subject<void>();
  /** What the subscriber does with a value is no part of the work. */
  private readonly outside = AsyncLocalStorage.snapshot();
  private scope: CallScope | undefined;
  private last: unknown;

  constructor(
    private readonly source: StreamSource,
    private readonly subscriber: Subscriber<unknown>,
  ) {}

  async start(): Promise<void> {
    let scope: CallScope;
    try {
      scope = await this.source.open(this.leaving.signal);
    } catch (error) {
      this.subscriber.error(error);
      return;
    }
    if (this.leaving.signal.aborted) return scope.close({ status: 'abandoned' });
    this.scope = scope;
    scope.run(() => this.subscribe(scope));
  }

  leave(): void {
    this.leaving.abort();
    const scope = this.take();
    if (!scope) return;
    scope.run(() => this.left.next());
    void scope.close({ status: 'abandoned' });
  }

  private subscribe(scope: CallScope): void {
    try {
      const inner = this.source.call(scope);
      if (!isObservable(inner)) throw new ConfigurationError(`${this.source.name} did not return an Observable.`);
      inner.pipe(takeUntil(this.left)).subscribe({
        next: (value) => {
          this.last = value;
          this.outside(() => this.subscriber.next(value));
        },
        error: (error: unknown) => void this.end({ status: 'failed', error }),
        complete: () => void this.end({ status: 'completed', result: this.last }),
      });
    } catch (error) {
      void this.end({ status: 'failed', error });
    }
  }

  private async end(outcome: CallOutcome): Promise<void> {
    const scope = this.take();
    if (!scope) return;
    try {
      await scope.close(outcome);
    } catch (error) {
      this.outside(() => this.subscriber.error(error));
      return;
    }
    this.outside(() =>
      outcome.status === 'failed' ? this.subscriber.error(outcome.error) : this.subscriber.complete(),
    );
  }

  /** The scope, for whoever comes first to close it. */
  private take(): CallScope | undefined {
    const { scope } = this;
    this.scope = undefined;
    return scope;
  }
}
