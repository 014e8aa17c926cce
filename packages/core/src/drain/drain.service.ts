import { setMaxListeners } from 'node:events';
import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  type OnApplicationShutdown,
  Optional,
} from '@nestjs/common';
import { CORE_OPTIONS, type ResolvedCoreOptions, resolveCoreOptions } from '../core.options.js';
import { Incidents } from '../telemetry/incidents.js';

/**
 * When something is drained, in this order. `intake` and `work` while the HTTP server still answers; `leases` and
 * `connections` after it has closed, because requests in flight still need them.
 */
export type DrainPhase = 'intake' | 'work' | 'leases' | 'connections';

export interface Drainable {
  readonly name: string;
  readonly phase: DrainPhase;
  /** Ends what it does; must give up when `signal` aborts. */
  drain(signal: AbortSignal): Promise<void>;
}

const LATE = Symbol('late');

/**
 * Graceful shutdown: stop taking work, finish what runs, release leases, close connections. The members of a phase are
 * drained side by side; each phase is bounded by `drainTimeout`, and whoever has not finished by then is reported and
 * left behind. Runs once, on `app.close()`, and on SIGTERM where the application called `enableShutdownHooks()`.
 */
@Injectable()
export class DrainService implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly members = new Set<Drainable>();
  private readonly phases = new Map<DrainPhase, Promise<void>>();
  private readonly timeoutMs: number;

  constructor(
    @Inject(Incidents) private readonly incidents: Incidents,
    @Optional() @Inject(CORE_OPTIONS) options: ResolvedCoreOptions = resolveCoreOptions({}),
  ) {
    this.timeoutMs = options.drainTimeoutMs;
  }

  /** Returns the function that takes the member out again. */
  register(member: Drainable): () => void {
    this.members.add(member);
    return () => this.members.delete(member);
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.once('intake');
    await this.once('work');
  }

  async onApplicationShutdown(): Promise<void> {
    await this.once('leases');
    await this.once('connections');
  }

  /** A signal may arrive while `app.close()` runs; the second caller waits for the same drain. */
  private once(phase: DrainPhase): Promise<void> {
    const drained = this.phases.get(phase) ?? this.drain(phase);
    this.phases.set(phase, drained);
    return drained;
  }

  private async drain(phase: DrainPhase): Promise<void> {
    const members = [...this.members].filter((member) => member.phase === phase);
    const controller = new AbortController();
    // Every member may listen, and a warning for the eleventh would say nothing.
    setMaxListeners(0, controller.signal);
    let timer: NodeJS.Timeout | undefined;
    // Keeps the process alive, so that a member that hangs is reported and the later phases still run.
    const late = new Promise<typeof LATE>((resolve) => {
      timer = setTimeout(() => {
        controller.abort(new Error(`not drained after ${this.timeoutMs} ms`));
        resolve(LATE);
      }, this.timeoutMs);
    });
    try {
      await Promise.all(members.map((member) => this.drainOne(member, controller.signal, late)));
    } finally {
      clearTimeout(timer);
    }
  }

  private async drainOne(member: Drainable, signal: AbortSignal, late: Promise<typeof LATE>): Promise<void> {
    try {
      const result = await Promise.race([member.drain(signal), late]);
      if (result === LATE) throw signal.reason;
    } catch (cause) {
      this.incidents.report({
        code: 'DRAIN_INCOMPLETE',
        source: 'core.drain',
        message: `${member.name} was left behind at shutdown`,
        cause,
      });
    }
  }
}
