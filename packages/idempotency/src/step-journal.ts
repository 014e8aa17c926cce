import { setTimeout as sleep } from 'node:timers/promises';
import {
  ConfigurationError,
  checkpoint,
  type Incidents,
  isLockstepError,
  monotonicMs,
  StoreUnavailableError,
} from '@lockstep/core';
import type { Execution, Journal } from './execution.js';
import { GrowingPause } from './growing-pause.js';
import { OperationLostError, StepResultInvalidError } from './idempotency.errors.js';
import type { IdempotencyStore } from './idempotency-store.js';
import type { ResponseVault } from './response-vault.js';
import { keepsSteps, type Steps } from './store-abilities.js';

const LONGEST_NAME = 100;

/** What a journal needs of the service. */
export interface JournalTools {
  readonly store: IdempotencyStore;
  readonly vault: ResponseVault;
  readonly incidents: Incidents;
}

/**
 * The steps of one execution (recovery points): each runs until its result is stored, and never again, in this run or a
 * later one.
 *
 * ```
 * (unknown) --run--> done --stored--> kept: its result is handed out from now on
 *           --run rejects--> (unknown)
 * done --claim lost | store silent until the lease is over--> the run is told, and must end
 * ```
 * A crash between the effect of a step and its being stored runs the step again: it needs an idempotent partner, or an
 * own look at what is there.
 */
export class StepJournal implements Journal {
  /** By name; a call that comes while the step runs gets the same result. */
  private readonly steps = new Map<string, Promise<unknown>>();
  /** The store has said that somebody else has it; the heartbeat may not have heard of it yet. */
  private isRefused = false;

  constructor(
    private readonly tools: JournalTools,
    private readonly execution: Execution,
    private readonly stored: Steps,
  ) {}

  /** The result of a step that an earlier run has stored. */
  read<T>(name: string): T | undefined {
    if (!this.has(name)) return undefined;
    const sealed = this.stored[name] ?? '';
    return (JSON.parse(this.tools.vault.open(this.execution.id, purposeOf(name), sealed)) as { value: T }).value;
  }

  phase<T>(name: string, fn: () => Promise<T>): Promise<T> {
    const running = this.steps.get(name) ?? this.stepOf(name, fn);
    this.steps.set(name, running);
    return running as Promise<T>;
  }

  private has(name: string): boolean {
    return Object.hasOwn(this.stored, name);
  }

  private async stepOf<T>(name: string, fn: () => Promise<T>): Promise<T> {
    assertName(name);
    return this.has(name) ? (this.read<T>(name) as T) : this.runStep(name, fn);
  }

  private async runStep<T>(name: string, fn: () => Promise<T>): Promise<T> {
    if (!keepsSteps(this.tools.store)) {
      throw new ConfigurationError(
        `The store of IdempotencyModule keeps no steps; phase('${name}') needs one that does.`,
      );
    }
    if (this.execution.isLost || this.isRefused) throw new OperationLostError(this.execution.operation);
    try {
      const value = await fn();
      checkpoint('idempotency.step');
      await this.keep(name, encoded(name, value));
      return value;
    } catch (error) {
      this.steps.delete(name);
      throw error;
    }
  }

  /** Tries until the lease is over: what has happened must not be forgotten because of a moment's silence. */
  private async keep(name: string, text: string): Promise<void> {
    const { tools, execution } = this;
    const { store } = tools;
    if (!keepsSteps(store)) return;
    const sealed = tools.vault.seal(execution.id, purposeOf(name), text);
    const pause = new GrowingPause();
    for (;;) {
      try {
        if (await store.saveStep(execution, name, sealed)) return;
        this.isRefused = true;
        throw new OperationLostError(execution.operation);
      } catch (cause) {
        if (cause instanceof OperationLostError) throw cause;
        if (monotonicMs() >= execution.leaseEndsAt) throw notKept(cause);
        const message = `step '${name}' of ${execution.operation} is not yet stored; trying again`;
        tools.incidents.report({ code: 'STEP_DELAYED', source: 'idempotency.step', message, cause });
      }
      await sleep(pause.next(), undefined, { ref: false });
    }
  }
}

/** Whatever the store made of it, the step has happened: an error of which nothing comes would free the operation. */
function notKept(cause: unknown): StoreUnavailableError {
  const store = (isLockstepError(cause) && cause.fields.store) || 'idempotency';
  return new StoreUnavailableError({ store: String(store), operation: 'idempotency.step', outcome: 'unknown', cause });
}

function purposeOf(name: string): string {
  return `step:${name}`;
}

function assertName(name: unknown): void {
  if (typeof name === 'string' && name !== '' && name.length <= LONGEST_NAME) return;
  throw ConfigurationError.option('step', name, `a name of 1 to ${LONGEST_NAME} characters`);
}

function encoded(name: string, value: unknown): string {
  try {
    return JSON.stringify({ value });
  } catch (cause) {
    throw new StepResultInvalidError(name, cause);
  }
}
