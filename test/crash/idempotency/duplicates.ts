import { seededRandom } from '@lockstep/testing';
import { allListen, Fleet } from '../fleet/fleet.js';
import { ask, type Customer, drawCustomer } from './customers.js';
import { fleetPlan } from './fleet-plan.js';
import { type Arena, close, type RoundReport, settingOf } from './round.js';

export interface DuplicateStorm {
  readonly keys: number;
  /** Of each key. */
  readonly duplicates: number;
  /** How often a worker, with owners and waiters in it, is killed meanwhile. */
  readonly kills: number;
  /** The control. */
  readonly ignoresClaims?: boolean;
}

/** Requests that are on their way at once. */
const AT_ONCE = 64;
/** Nothing but kills strikes here: on a busy machine the store may take its time, and is not down. */
const TIMES = { leaseMs: 2_000, commandTimeoutMs: 5_000 };

/** All keys, each many times over, at two processes at once: one execution per key, whatever comes back. */
export async function playDuplicates(arena: Arena, seed: number, storm: DuplicateStorm): Promise<RoundReport> {
  const { kills, ignoresClaims = false } = storm;
  const room = await arena.store.room();
  const random = seededRandom(seed);
  const fleet = await Fleet.start(2, fleetPlan({ ...settingOf(arena, room), ...TIMES, ignoresClaims }));
  try {
    await allListen(fleet);
    const customers = Array.from({ length: storm.keys }, (_, index) =>
      drawCustomer(seededRandom(seed + index), room.namespace, index, 0),
    );
    const requests = random.shuffle(customers.flatMap((one) => Array.from({ length: storm.duplicates }, () => one)));
    await sendAll(requests, fleet, kills);
    await allListen(fleet);
    const weather = kills > 0 ? 'all' : 'network';
    // The control never comes to rest.
    return await close(arena, { room, fleet, customers, weather, ...(ignoresClaims ? { settleMs: 1 } : {}) });
  } finally {
    await fleet.stop();
  }
}

/** A worker is killed after each equal part of the requests. */
async function sendAll(requests: readonly Customer[], fleet: Fleet, kills: number): Promise<void> {
  const part = Math.ceil(requests.length / (kills + 1));
  let next = 0;
  const killAfterPart = async (): Promise<void> => {
    if (next % part === 0 && next < requests.length) await fleet.members[(next / part) % 2]?.kill();
  };
  const lane = async (): Promise<void> => {
    for (let request = requests[next]; request !== undefined; request = requests[next]) {
      next += 1;
      await killAfterPart();
      await ask(request, fleet.urls);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}
