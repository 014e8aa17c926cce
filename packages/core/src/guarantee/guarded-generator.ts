import type { CallOutcome, CallScope } from './guarantee.js';
import type { StreamSource } from './guarded-observable.js';

type Step = IteratorResult<unknown, unknown>;
type Inner = AsyncGenerator<unknown, unknown, unknown>;
type Resume = (inner: Inner) => Promise<Step>;

interface Running {
  readonly scope: CallScope;
  readonly inner: Inner;
}

/**
 * A generator whose scope is opened by the first `next()` and closed when it returns or throws, by itself or because
 * its consumer says so. Requests are answered one after the other, as those of any async generator. Each resumption of
 * the body runs within the scope, in the asynchronous context of whoever asked for it.
 *
 * ```
 * idle --next--> opening --> running --done | thrown--> over
 *      --return | throw--> over     --return, throw: as the body answers--> running | over
 * ```
 */
export class GuardedGenerator implements AsyncGenerator<unknown, unknown, unknown> {
  readonly [Symbol.toStringTag] = 'AsyncGenerator';
  private readonly leaving = new AbortController();
  private latest: Promise<unknown> = Promise.resolve();
  private running: Running | undefined;
  private isOver = false;

  constructor(private readonly source: StreamSource) {}

  next(...value: [] | [unknown]): Promise<Step> {
    return this.inTurn(async () => {
      if (this.isOver) return done(undefined);
      const running = this.running ?? (await this.open());
      return running ? this.resume(running, (inner) => inner.next(...value)) : done(undefined);
    });
  }

  return(value: unknown): Promise<Step> {
    this.leaving.abort();
    return this.inTurn(async () => {
      if (this.running) return this.resume(this.running, (inner) => inner.return(value));
      this.isOver = true;
      return done(await value);
    });
  }

  throw(error: unknown): Promise<Step> {
    return this.inTurn(async () => {
      if (this.running) return this.resume(this.running, (inner) => inner.throw(error));
      this.isOver = true;
      throw error;
    });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return(undefined);
  }

  private inTurn(step: () => Promise<Step>): Promise<Step> {
    const answer = this.latest.then(step);
    const settled = (): void => undefined;
    // Its rejection belongs to the one who asked, not to the next in turn.
    this.latest = answer.then(settled, settled);
    return answer;
  }

  /** Undefined when the consumer left while it was being opened. */
  private async open(): Promise<Running | undefined> {
    try {
      this.leaving.signal.throwIfAborted();
      const scope = await this.source.open(this.leaving.signal);
      this.running = { scope, inner: await this.call(scope) };
      return this.running;
    } catch (error) {
      this.isOver = true;
      if (this.leaving.signal.aborted && error === this.leaving.signal.reason) return undefined;
      throw error;
    }
  }

  /** Runs nothing of the body yet, but may throw all the same: the default of a parameter can. */
  private async call(scope: CallScope): Promise<Inner> {
    try {
      return scope.run(() => this.source.call(scope)) as Inner;
    } catch (error) {
      await scope.close({ status: 'failed', error });
      throw error;
    }
  }

  private async resume({ scope, inner }: Running, how: Resume): Promise<Step> {
    let step: Step;
    try {
      step = await scope.run(() => how(inner));
    } catch (error) {
      await this.end(scope, { status: 'failed', error });
      throw error;
    }
    if (step.done) await this.end(scope, { status: 'completed', result: step.value });
    return step;
  }

  private end(scope: CallScope, outcome: CallOutcome): Promise<void> {
    this.running = undefined;
    this.isOver = true;
    return scope.close(outcome);
  }
}

function done(value: unknown): Step {
  return { done: true, value };
}
