import { setTimeout as sleep } from 'node:timers/promises';
import type { RedisServer, SeededRandom } from '@lockstep/testing';
import { Redis } from 'ioredis';
import type { Crew, Worker } from './crew.js';
import { sharedMs } from './shared-clock.js';
import type { Weather } from './weather.js';

/** What faults can strike. */
export interface Target {
  readonly crew: Crew;
  readonly server: RedisServer;
  readonly namespace: string;
  readonly keys: readonly string[];
  readonly ttlMs: number;
}

export interface Fault {
  readonly name: string;
  readonly weight: number;
  /** Ends when the fault is over. False: there was nobody to strike. */
  strike(target: Target, random: SeededRandom, weather: Weather): Promise<boolean>;
}

/** How long a fault waits for somebody to strike. */
const PATIENCE_MS = 1_000;
const FREEZE_PATIENCE_MS = 3_000;

/** A holder stands still beyond its lease, between its read and its write, and comes back. */
export const FREEZE_IN_THOUGHT: Fault = { name: 'SIGSTOP before a write', weight: 2, strike: freezeInThought };

export const PROCESS_FAULTS: readonly Fault[] = [
  FREEZE_IN_THOUGHT,
  {
    name: 'SIGSTOP of a holder',
    weight: 2,
    strike: (target, random) => freeze(() => target.crew.holders(), target.ttlMs * 1.2, target, random),
  },
  {
    name: 'SIGSTOP of the head waiter',
    weight: 3,
    strike: (target, random) => freeze(() => longestQueue(target).slice(0, 1), target.ttlMs * 0.7, target, random),
  },
  { name: 'SIGKILL of a holder', weight: 2, strike: ({ crew }, random) => killOne(() => crew.holders(), random) },
  {
    name: 'SIGKILL of the head waiter',
    weight: 2,
    strike: (target, random) => killOne(() => longestQueue(target).slice(0, 1), random),
  },
  {
    name: 'SIGKILL of a middle waiter',
    weight: 2,
    strike: (target, random) => killOne(() => longestQueue(target).slice(1, -1), random),
  },
];

export const SERVER_FAULTS: readonly Fault[] = [
  { name: 'DEL', weight: 3, strike: deleteKey },
  { name: 'SIGSTOP of the server', weight: 3, strike: pauseServer },
  { name: 'restart of the server', weight: 1, strike: restartServer },
  { name: 'SIGKILL of the server', weight: 1, strike: killServer },
  { name: 'restart of the server without its data', weight: 1, strike: emptyServer },
];

export const NETWORK_FAULTS: readonly Fault[] = [
  {
    name: 'slow network',
    weight: 3,
    strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.delay(random.integer(20, 250))),
  },
  { name: 'cut', weight: 2, strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.cut()) },
  { name: 'half-open', weight: 1, strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.halfOpen()) },
  {
    name: 'requests swallowed',
    weight: 1,
    strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.blackhole({ direction: 'toServer' })),
  },
  {
    name: 'answers swallowed',
    weight: 1,
    strike: (target, random) => spoil(target, random, ({ proxy }) => proxy.blackhole({ direction: 'toClient' })),
  },
];

/** For at least so long, and up to two leases. A waiter may be granted the lock meanwhile. */
async function freeze(
  candidates: () => readonly Worker[],
  leastMs: number,
  { ttlMs }: Target,
  random: SeededRandom,
): Promise<boolean> {
  const worker = await oneOf(candidates, random);
  // The process of now: whoever takes its place must not be thawed instead.
  const child = worker?.life?.child;
  if (!child) return false;
  child.sigstop();
  await sleep(random.integer(leastMs, ttlMs * 2));
  child.sigcont();
  return true;
}

async function freezeInThought({ crew, ttlMs }: Target, random: SeededRandom): Promise<boolean> {
  const { life } = random.pick(crew.workers);
  if (!life) return false;
  const isFrozen = await life.freezeInThought(FREEZE_PATIENCE_MS);
  if (isFrozen) await sleep(random.integer(ttlMs * 1.3, ttlMs * 2));
  life.child.sigcont();
  return isFrozen;
}

async function killOne(candidates: () => readonly Worker[], random: SeededRandom): Promise<boolean> {
  const worker = await oneOf(candidates, random);
  await worker?.kill();
  return worker !== undefined;
}

/** Who is sought may be there a moment later. */
async function oneOf(candidates: () => readonly Worker[], random: SeededRandom): Promise<Worker | undefined> {
  const until = performance.now() + PATIENCE_MS;
  while (candidates().length === 0 && performance.now() < until) await sleep(5);
  const [found] = random.shuffle(candidates());
  return found;
}

function longestQueue({ crew, keys }: Target): Worker[] {
  const queues = keys.map((key) => crew.waiters(key));
  return queues.reduce((longest, queue) => (queue.length > longest.length ? queue : longest), []);
}

async function deleteKey(
  { server, namespace, keys }: Target,
  random: SeededRandom,
  weather: Weather,
): Promise<boolean> {
  const key = random.pick(keys);
  const client = new Redis(server.url);
  try {
    const from = sharedMs();
    const isLost = (await client.del(`${namespace}:lock:{${key}}`)) > 0;
    if (isLost) weather.noteLoss(key, from, true);
    return isLost;
  } finally {
    client.disconnect();
  }
}

async function pauseServer({ server, ttlMs }: Target, random: SeededRandom): Promise<boolean> {
  server.pause();
  await sleep(random.integer(ttlMs * 0.3, ttlMs * 2));
  server.resume();
  return true;
}

async function restartServer({ server }: Target): Promise<boolean> {
  await server.restart();
  return true;
}

/** Its log is synced before each answer, so nothing that was promised is lost. */
async function killServer({ server }: Target): Promise<boolean> {
  await server.kill();
  await server.restart();
  return true;
}

async function emptyServer({ server }: Target, _random: SeededRandom, weather: Weather): Promise<boolean> {
  const from = sharedMs();
  await server.kill();
  weather.noteLoss(undefined, from, false);
  await server.restart({ empty: true });
  return true;
}

/** The network of one worker, a holder if possible, for up to one and a half leases. */
async function spoil(
  { crew, ttlMs }: Target,
  random: SeededRandom,
  misbehave: (worker: Worker) => void,
): Promise<boolean> {
  const wantsHolder = random.next() < 0.6;
  const [worker] = random.shuffle(wantsHolder && crew.holders().length > 0 ? crew.holders() : crew.workers);
  if (!worker) return false;
  misbehave(worker);
  await sleep(random.integer(ttlMs * 0.3, ttlMs * 1.5));
  await worker.proxy.heal();
  return true;
}
