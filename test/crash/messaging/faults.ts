import { setTimeout as sleep } from 'node:timers/promises';
import {
  eventually,
  type FaultProxy,
  type PostgresServer,
  type RedisServer,
  type SeededRandom,
} from '@lockstep/testing';
import type { Crew } from './crew.js';

type Server = Pick<PostgresServer | RedisServer, 'kill' | 'restart'>;

/** What faults can strike. */
export interface Target {
  readonly crew: Crew;
  readonly database: Server;
  readonly broker: Server;
  /** Of a lease: what is frozen is frozen for longer. */
  readonly leaseMs: number;
}

interface Fault {
  readonly name: string;
  readonly weight: number;
  /** Ends when the fault is over. */
  strike(target: Target, random: SeededRandom): Promise<void>;
}

/** After it, what was only accepted is gone. */
export const BROKER_EMPTIED = 'broker restarted empty';

const FAULTS: readonly (readonly Fault[])[] = [
  [
    { name: 'SIGKILL', weight: 4, strike: ({ crew }, random) => random.pick(crew.fleet.members).kill() },
    { name: 'SIGSTOP past the lease', weight: 2, strike: freeze },
  ],
  [
    { name: 'broker restarted', weight: 2, strike: ({ broker }) => restart(broker) },
    { name: BROKER_EMPTIED, weight: 2, strike: ({ broker }) => restart(broker, { empty: true }) },
    { name: 'database restarted', weight: 2, strike: ({ database }) => restart(database) },
    { name: 'database killed', weight: 1, strike: killed },
  ],
  [
    { name: 'cut', weight: 3, strike: (target, random) => spoil(target, random, (proxy) => proxy.cut()) },
    {
      name: 'answers lost',
      weight: 3,
      strike: (target, random) => spoil(target, random, (proxy) => proxy.dropAfter(0)),
    },
    { name: 'slow', weight: 2, strike: (target, random) => spoil(target, random, (proxy) => proxy.delay(200)) },
    { name: 'black hole', weight: 1, strike: (target, random) => spoil(target, random, (proxy) => proxy.blackhole()) },
  ],
];

const PAUSES_MS: readonly (readonly [number, number])[] = [
  [500, 1_500],
  [1_500, 4_000],
  [300, 1_500],
];

/** Strikes processes, servers and networks side by side for so long, and takes every fault back. */
export async function rage(
  target: Target,
  randoms: readonly SeededRandom[],
  durationMs: number,
): Promise<ReadonlyMap<string, number>> {
  const until = performance.now() + durationMs;
  const struck = new Map<string, number>();
  await Promise.all(
    FAULTS.map(async (faults, index) => {
      // A sequence of its own for each: how long a fault takes must not change what the others draw.
      const random = randoms[index];
      const pauses = PAUSES_MS[index];
      if (!random || !pauses) throw new Error('a sequence and a pause for each kind of fault');
      for (;;) {
        await sleep(random.integer(...pauses));
        if (performance.now() >= until) return;
        const fault = random.pick(faults.flatMap((one) => Array<Fault>(one.weight).fill(one)));
        struck.set(fault.name, (struck.get(fault.name) ?? 0) + 1);
        await fault.strike(target, random);
      }
    }),
  );
  return struck;
}

async function freeze({ crew, leaseMs }: Target, random: SeededRandom): Promise<void> {
  const thaw = random.pick(crew.fleet.members).freeze();
  await sleep(leaseMs * (1.2 + random.next()));
  thaw();
}

async function killed({ database }: Target): Promise<void> {
  await database.kill();
  await restart(database);
}

/** On a machine that is busy with the faults a connection may take longer than the restart has patience for. */
async function restart(server: Server, options: { readonly empty?: boolean } = {}): Promise<void> {
  await eventually(() => server.restart(options), { timeoutMs: 30_000, intervalMs: 100 });
}

async function spoil({ crew }: Target, random: SeededRandom, misbehave: (proxy: FaultProxy) => void): Promise<void> {
  const proxy = random.pick(crew.proxies);
  misbehave(proxy);
  await sleep(random.integer(200, 1_500));
  await proxy.heal();
}
