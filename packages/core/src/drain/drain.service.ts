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

/**
 * Graceful shutdown: stop taking work, finish what runs, release leases, close connections. Each phase is bounded by
 * `drainTimeout`; whoever has not finished by then is reported and left behind. Runs on `app.close()`, and on SIGTERM
 * where the application called `enableShutdownHooks()`.
 */
@Injectable()
export class DrainService implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly members = new Set<Drainable>();
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
    await this.drain('intake');
    await this.drain('work');
  }

  async onApplicationShutdown(): Promise<void> {
    await this.drain('leases');
    await this.drain('connections');
  }

  private async drain(phase: DrainPhase): Promise<void> {
    const signal = AbortSignal.timeout(this.timeoutMs);
    const members = [...this.members].filter((member) => member.phase === phase);
    await Promise.all(members.map((member) => this.drainOne(member, signal)));
  }

  private async drainOne(member: Drainable, signal: AbortSignal): Promise<void> {
    const late = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error(`not drained after ${this.timeoutMs} ms`)));
    });
    try {
      await Promise.race([member.drain(signal), late]);
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
