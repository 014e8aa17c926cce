import { monotonicMs } from '@lockstep/core';
import type { HostResolver, ResolvedAddress } from './guarded-lookup.js';

const LOOKUPS_AT_A_TIME = 2;
const SLOW_LOOKUPS_AT_A_TIME = 1;
const SLOW_MS = 1_000;
const MAX_SLOW_HOSTS = 1_000;

interface Lookup {
  readonly host: string;
  readonly addresses: Promise<readonly ResolvedAddress[]>;
  /** Local monotonic time after which nobody waits for it any more. */
  deadline: number;
  settle(addresses: readonly ResolvedAddress[] | Promise<readonly ResolvedAddress[]>): void;
  refuse(error: Error): void;
}

/**
 * Bounds what lookups take of the thread pool of Node, where nothing frees a thread before the system gives up: one thread
 * for each name, two altogether, and of these one for names that were slow before. Whoever finds none free waits.
 *
 * ```
 * waiting --a thread is free--> under way --> answered, for all who asked meanwhile
 *    '--waited too long--> refused
 * ```
 */
export class BoundedResolver {
  private readonly byHost = new Map<string, Lookup>();
  private readonly waiting = new Set<Lookup>();
  private readonly slow = new Set<string>();
  private underWay = 0;
  private slowUnderWay = 0;

  /** @param waitMs how long whoever asks waits for an answer */
  constructor(
    private readonly resolver: HostResolver,
    private readonly waitMs: number,
  ) {}

  readonly resolve: HostResolver = (host) => {
    const deadline = monotonicMs() + this.waitMs;
    const known = this.byHost.get(host);
    if (known) {
      known.deadline = deadline;
      return known.addresses;
    }
    const lookup = newLookup(host, deadline);
    this.byHost.set(host, lookup);
    this.waiting.add(lookup);
    this.next();
    return lookup.addresses;
  };

  private next(): void {
    const now = monotonicMs();
    for (const lookup of this.waiting) {
      if (lookup.deadline <= now) this.refuse(lookup);
      else if (this.isFreeFor(lookup)) this.begin(lookup, now);
    }
  }

  private isFreeFor({ host }: Lookup): boolean {
    if (this.underWay >= LOOKUPS_AT_A_TIME) return false;
    return !this.slow.has(host) || this.slowUnderWay < SLOW_LOOKUPS_AT_A_TIME;
  }

  private begin(lookup: Lookup, begunAt: number): void {
    const { host } = lookup;
    const isSlow = this.slow.has(host);
    this.waiting.delete(lookup);
    this.underWay += 1;
    if (isSlow) this.slowUnderWay += 1;
    // A resolver that throws instead must not keep the slot.
    const addresses = (async () => this.resolver(host))().finally(() => {
      this.underWay -= 1;
      if (isSlow) this.slowUnderWay -= 1;
      this.byHost.delete(host);
      this.remember(host, monotonicMs() - begunAt >= SLOW_MS);
      this.next();
    });
    lookup.settle(addresses);
  }

  private refuse(lookup: Lookup): void {
    this.waiting.delete(lookup);
    this.byHost.delete(lookup.host);
    lookup.refuse(new Error(`no lookup of ${lookup.host} could begin within ${this.waitMs} ms`));
  }

  /** The one that was slow longest ago is forgotten where there are too many. */
  private remember(host: string, isSlow: boolean): void {
    this.slow.delete(host);
    if (!isSlow) return;
    this.slow.add(host);
    const [oldest] = this.slow;
    if (oldest !== undefined && this.slow.size > MAX_SLOW_HOSTS) this.slow.delete(oldest);
  }
}

function newLookup(host: string, deadline: number): Lookup {
  let settle: Lookup['settle'] = () => undefined;
  let refuse: Lookup['refuse'] = () => undefined;
  const addresses = new Promise<readonly ResolvedAddress[]>((resolve, reject) => {
    settle = resolve;
    refuse = reject;
  });
  return { host, deadline, addresses, settle, refuse };
}
