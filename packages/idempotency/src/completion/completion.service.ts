import { count, DrainService, Incidents, monotonicMs, PeriodicTask, withSpan } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import type { Execution } from '../execution.js';
import { NotApplied } from '../idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import { IdempotencyService } from '../idempotency.service.js';
import type { UncertainOperation } from '../idempotency-store.js';
import { encodeKnownOutcome } from '../operator-verdict.js';
import { Completers } from './completers.js';
import type { AbandonedOperation, Completer } from './idempotency-completer.decorator.js';

/** So many uncertain operations are looked at in a pass; behind more without a completer, others are not seen. */
const LOOKED_AT = 10_000;
const AT_ONCE = 8;

/**
 * Has abandoned operations finished by those who know how.
 *
 * ```
 * uncertain --longer than completeAfter--> adopted (one process, next fence) --completer resolves--> completed
 *                                                  --NotApplied--> released
 *                                                  --any other error--> uncertain, from now on
 * ```
 */
@Injectable()
export class CompletionService implements OnApplicationBootstrap {
  private completers: ReadonlyMap<string, Completer> = new Map();
  private readonly loop: PeriodicTask;
  /** When this process first saw an operation uncertain, by the local clock: that of the store may be another. */
  private seen = new Map<string, { readonly sinceAt: number; readonly seenAt: number }>();

  constructor(
    @Inject(IdempotencyService) private readonly service: IdempotencyService,
    @Inject(Completers) private readonly discovered: Completers,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(Incidents) private readonly incidents: Incidents,
    @Inject(DrainService) drain: DrainService,
  ) {
    this.loop = new PeriodicTask({
      name: 'idempotency.complete',
      everyMs: Math.min(options.sweepEveryMs, options.completeAfterMs),
      run: (signal) => this.pass(signal),
      onError: (cause) => this.report('abandoned operations were not looked at', cause),
    });
    drain.register({ name: 'idempotency completion', phase: 'work', drain: () => this.loop.stop() });
  }

  /** @throws ConfigurationError when the completers cannot be told apart or called */
  onApplicationBootstrap(): void {
    this.completers = this.discovered.find();
    if (this.completers.size > 0) this.loop.start();
  }

  private async pass(signal: AbortSignal): Promise<undefined> {
    const due = this.due(await this.service.listUncertain(LOOKED_AT));
    while (due.length > 0 && !signal.aborted) {
      await Promise.all(due.splice(0, AT_ONCE).map((operation) => this.complete(operation)));
    }
  }

  private due(listed: readonly UncertainOperation[]): UncertainOperation[] {
    const ours = listed.filter(({ operation }) => this.completers.has(operation));
    const nowMs = monotonicMs();
    this.seen = new Map(
      ours.map(({ id, sinceAt }) => {
        const before = this.seen.get(id);
        return [id, before?.sinceAt === sinceAt ? before : { sinceAt, seenAt: nowMs }];
      }),
    );
    return ours.filter(({ id }) => nowMs - (this.seen.get(id)?.seenAt ?? nowMs) >= this.options.completeAfterMs);
  }

  private async complete(operation: UncertainOperation): Promise<void> {
    const completer = this.completers.get(operation.operation);
    const execution = completer && (await this.adopted(operation));
    if (!execution) return;
    await withSpan('lockstep.idempotency.complete', { 'lockstep.idempotency.operation': operation.operation }, () =>
      this.finish(execution, completer, abandoned(execution, operation)),
    );
  }

  /** One that cannot be had keeps nobody from the others. */
  private async adopted(operation: UncertainOperation): Promise<Execution | undefined> {
    try {
      return await this.service.adopt(operation);
    } catch (cause) {
      this.report(`${operation.operation} could not be taken over and stays uncertain`, cause);
      return undefined;
    }
  }

  private async finish(execution: Execution, completer: Completer, operation: AbandonedOperation): Promise<void> {
    execution.enter();
    try {
      const response = encodeKnownOutcome(await execution.run(() => completer(operation)));
      await this.service.end(execution, { to: 'completed', response });
      count('lockstep.idempotency.complete', { outcome: 'completed' });
    } catch (error) {
      const isNothing = error instanceof NotApplied;
      await this.service.end(execution, isNothing ? { to: 'released', notApplied: true } : { to: 'uncertain' });
      count('lockstep.idempotency.complete', { outcome: isNothing ? 'released' : 'failed' });
      if (!isNothing) this.report(`${execution.operation} could not be completed and stays uncertain`, error);
    }
  }

  private report(message: string, cause: unknown): void {
    this.incidents.report({ code: 'COMPLETION_FAILED', source: 'idempotency.complete', message, cause });
  }
}

function abandoned(execution: Execution, { operation, sinceAt }: UncertainOperation): AbandonedOperation {
  const { id, fence, recovered } = execution;
  return {
    id,
    fence,
    recovered,
    operation,
    sinceAt,
    get signal() {
      return execution.signal;
    },
    phase: (step, fn) => execution.phase(step, fn),
    step: (name) => execution.journal.read(name),
  };
}
