import { AsyncResource } from 'node:async_hooks';
import { type Incidents, monotonicMs } from '@lockstep/core';
import type { Execution } from './execution.js';
import type { IdempotencyStore } from './idempotency-store.js';

const SOURCE = 'idempotency.heartbeat';

/**
 * Renews the leases of all executions of this process: one timer, at a third of the lease, one batch.
 *
 * ```
 * idle --first execution--> beating --last one leaves--> idle
 * ```
 * An execution that the store calls lost, or whose lease is over by our own clock because no renewal got through, is
 * told so; one that runs longer than allowed is no longer renewed. Each is reported once.
 */
export class Heartbeat {
  private readonly executions = new Set<Execution>();
  private readonly overdue = new WeakSet<Execution>();
  // The beat is nobody's: neither in the request nor in the trace of whoever happened to come first.
  private readonly outside = new AsyncResource('lockstep.idempotency');
  private timer: NodeJS.Timeout | undefined;
  private beating = false;

  constructor(
    private readonly store: IdempotencyStore,
    private readonly incidents: Incidents,
    private readonly leaseMs: number,
    private readonly onLost: (execution: Execution) => void,
  ) {}

  get size(): number {
    return this.executions.size;
  }

  add(execution: Execution): void {
    this.executions.add(execution);
    this.timer ??= this.outside.runInAsyncScope(() => this.start());
  }

  remove(execution: Execution): void {
    this.executions.delete(execution);
    if (this.executions.size === 0) this.stop();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private start(): NodeJS.Timeout {
    return setInterval(() => void this.beat(), this.leaseMs / 3).unref();
  }

  private async beat(): Promise<void> {
    this.dropExpired();
    if (this.beating) return;
    this.beating = true;
    try {
      await this.renew([...this.executions].filter((execution) => this.mayRenew(execution)));
    } catch (cause) {
      this.incidents.report({ code: 'LEASE_RENEWAL_FAILED', source: SOURCE, message: 'leases not renewed', cause });
    } finally {
      this.beating = false;
    }
  }

  private async renew(executions: readonly Execution[]): Promise<void> {
    if (executions.length === 0) return;
    const { leaseMs } = this;
    const leaseEndsAt = monotonicMs() + leaseMs;
    const items = executions.map(({ id, owner, retentionMs }) => ({ id, owner, leaseMs, retentionMs }));
    const answers = await this.store.renew(items);
    for (const [index, execution] of executions.entries()) {
      if (answers[index] === 'renewed') execution.leaseEndsAt = leaseEndsAt;
      if (answers[index] === 'lost') this.lose(execution, 'somebody else has it');
    }
  }

  private mayRenew(execution: Execution): boolean {
    if (execution.isLost) return false;
    if (monotonicMs() < execution.renewUntil) return true;
    if (!this.overdue.has(execution)) {
      this.overdue.add(execution);
      this.incidents.report({
        code: 'EXECUTION_TOO_LONG',
        source: SOURCE,
        message: `${execution.operation} runs longer than maxExecution; its lease is not renewed any more`,
      });
    }
    return false;
  }

  private dropExpired(): void {
    const nowMs = monotonicMs();
    for (const execution of this.executions) {
      if (!execution.isLost && nowMs >= execution.leaseEndsAt) this.lose(execution, 'its lease is over');
    }
  }

  private lose(execution: Execution, reason: string): void {
    if (!this.executions.has(execution) || execution.isLost) return;
    execution.lose();
    // A settlement whose answer was lost looks the same from here; the settler finds out which it is.
    if (execution.isSettling) return;
    this.incidents.report({ code: 'LEASE_LOST', source: SOURCE, message: `${execution.operation}: ${reason}` });
    this.onLost(execution);
  }
}
