import { setTimeout as sleep } from 'node:timers/promises';
import type { PostgresServer, RedisServer, SeededRandom } from '@lockstep/testing';
import type { Fleet, Member } from './fleet.js';

interface Fault {
  readonly name: string;
  readonly weight: number;
  strike(): Promise<void>;
}

/** Shorter than the lease of a request, and longer: then somebody takes over, and the frozen one comes back. */
const FREEZES_MS = [3_000, 6_500];

/** Strikes at random until it is stopped: processes killed and frozen, servers restarted with and without their data. */
export class Faults {
  readonly struck = new Map<string, number>();
  private readonly faults: readonly Fault[];

  constructor(
    private readonly fleet: Fleet,
    redis: RedisServer,
    postgres: PostgresServer,
    private readonly random: SeededRandom,
  ) {
    this.faults = [
      { name: 'kill', weight: 12, strike: async () => this.anyMember().kill() },
      { name: 'freeze', weight: 2, strike: () => this.freeze(this.anyMember()) },
      { name: 'redis restart', weight: 1, strike: () => redis.restart() },
      { name: 'redis restart empty', weight: 2, strike: () => redis.restart({ empty: true }) },
      { name: 'postgres restart', weight: 1, strike: () => postgres.restart() },
    ];
  }

  /** Strikes, with pauses, for so long. */
  async rage(durationMs: number): Promise<void> {
    const until = performance.now() + durationMs;
    while (performance.now() < until) {
      await sleep(500 + this.random.next() * 1_500);
      const fault = this.pick();
      this.struck.set(fault.name, (this.struck.get(fault.name) ?? 0) + 1);
      await fault.strike();
    }
  }

  private pick(): Fault {
    let point = this.random.next() * this.faults.reduce((sum, { weight }) => sum + weight, 0);
    for (const fault of this.faults) {
      point -= fault.weight;
      if (point < 0) return fault;
    }
    throw new Error('unreachable: the weights cover the whole range');
  }

  private anyMember(): Member {
    return this.random.pick(this.fleet.members);
  }

  private async freeze(member: Member): Promise<void> {
    member.freeze();
    await sleep(this.random.pick(FREEZES_MS));
    member.thaw();
  }
}
