import { setTimeout as sleep } from 'node:timers/promises';
import { eventually, type RedisServer, type SeededRandom, seededRandom } from '@lockstep/testing';
import type { Fleet, Member } from './fleet.js';

/** What faults can strike. */
export interface Target {
  readonly fleet: Fleet;
  /** Of the store. */
  readonly server: Pick<RedisServer, 'pause' | 'resume' | 'kill' | 'restart'>;
  /** What faults are measured by: a lease, or how long a command may take. */
  readonly spanMs: number;
}

interface Fault {
  readonly name: string;
  readonly weight: number;
  /** Ends when the fault is over. */
  strike(target: Target, random: SeededRandom): Promise<void>;
}

const PAUSE_MS = [150, 900] as const;

const PROCESS_FAULTS: readonly Fault[] = [
  { name: 'SIGKILL', weight: 3, strike: ({ fleet }, random) => random.pick(fleet.members).kill() },
  { name: 'SIGSTOP beyond the span', weight: 3, strike: (target, random) => freeze(target, random, 1.2, 2.5) },
  { name: 'SIGSTOP within the span', weight: 1, strike: (target, random) => freeze(target, random, 0.2, 0.8) },
];

const SERVER_FAULTS: readonly Fault[] = [
  { name: 'store paused', weight: 3, strike: pauseServer },
  { name: 'store restarted', weight: 1, strike: ({ server }) => restart(server) },
  { name: 'store killed', weight: 1, strike: killServer },
];

const NETWORK_FAULTS: readonly Fault[] = [
  {
    name: 'slow',
    weight: 2,
    strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.delay(random.integer(20, 250))),
  },
  { name: 'cut', weight: 2, strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.cut()) },
  { name: 'half-open', weight: 2, strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.halfOpen()) },
  {
    name: 'answers lost',
    weight: 3,
    strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.dropAfter(0)),
  },
  {
    name: 'black hole',
    weight: 2,
    strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.blackhole()),
  },
  { name: 'refused', weight: 1, strike: (target, random) => spoil(target, random, refuse) },
];

/** `network`: no process dies or stands still. */
export type Weather = 'all' | 'network';

/** Strikes processes, the store and the network side by side for so long, and takes every fault back. */
export async function rage(
  target: Target,
  seed: number,
  durationMs: number,
  weather: Weather,
): Promise<ReadonlyMap<string, number>> {
  const until = performance.now() + durationMs;
  const struck = new Map<string, number>();
  const kinds = weather === 'all' ? [PROCESS_FAULTS, SERVER_FAULTS, NETWORK_FAULTS] : [SERVER_FAULTS, NETWORK_FAULTS];
  await Promise.all(
    kinds.map(async (faults, index) => {
      // A sequence of its own for each: how long a fault takes must not change what the others draw.
      const random = seededRandom(seed + index + 1);
      while (performance.now() < until) {
        await sleep(random.integer(...PAUSE_MS));
        const fault = draw(faults, random);
        struck.set(fault.name, (struck.get(fault.name) ?? 0) + 1);
        await fault.strike(target, random);
      }
    }),
  );
  return struck;
}

function draw(faults: readonly Fault[], random: SeededRandom): Fault {
  return random.pick(faults.flatMap((fault) => Array.from({ length: fault.weight }, () => fault)));
}

async function freeze({ fleet, spanMs }: Target, random: SeededRandom, least: number, most: number): Promise<void> {
  const thaw = random.pick(fleet.members).freeze();
  await sleep(spanMs * (least + random.next() * (most - least)));
  thaw();
}

async function pauseServer({ server, spanMs }: Target, random: SeededRandom): Promise<void> {
  server.pause();
  await sleep(spanMs * (0.3 + random.next() * 1.7));
  server.resume();
}

/** Its log is synced before each answer, so nothing that was promised is lost. */
async function killServer({ server }: Target): Promise<void> {
  await server.kill();
  await restart(server);
}

/** On a machine that is busy with the faults a connection may take longer than the restart has patience for. */
async function restart(server: Target['server']): Promise<void> {
  await eventually(() => server.restart(), { timeoutMs: 30_000, intervalMs: 100 });
}

function refuse({ proxy }: Member): void {
  proxy.refuse();
  proxy.cut();
}

/** The network of one worker, for up to one and a half spans. */
async function spoil(
  { fleet, spanMs }: Target,
  random: SeededRandom,
  misbehave: (member: Member) => void,
): Promise<void> {
  const member = random.pick(fleet.members);
  misbehave(member);
  await sleep(spanMs * (0.3 + random.next() * 1.2));
  await member.proxy.heal();
}
