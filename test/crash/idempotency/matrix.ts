import { seededRandom } from '@lockstep/testing';
import { allListen, Fleet, type NextDeath } from '../fleet/fleet.js';
import { sharedMs } from '../lock/shared-clock.js';
import { drawCustomer, insist } from './customers.js';
import { FATAL_CHECKPOINTS, fleetPlan } from './fleet-plan.js';
import { type Arena, close, type RoundReport, settingOf } from './round.js';
import { ROUTE_NAMES, ROUTES } from './routes.js';

const CUSTOMERS = 2 * ROUTE_NAMES.length;
const PATIENCE_MS = 6_000;

/** The crash matrix: a process dies at each of the checkpoints, is started again, and nothing is done twice or lost. */
export async function playMatrix(arena: Arena, seed: number): Promise<RoundReport> {
  const reports = await Promise.all(FATAL_CHECKPOINTS.map((checkpoint) => dieAt(arena, checkpoint, seed)));
  return {
    violations: reports.flatMap(({ violations }) => violations),
    kills: reports.reduce((sum, { kills }) => sum + kills, 0),
    fatalSteps: reports.flatMap(({ fatalSteps }) => fatalSteps),
    summary: `one death at each of ${FATAL_CHECKPOINTS.join(', ')}`,
  };
}

async function dieAt(arena: Arena, checkpoint: string, seed: number): Promise<RoundReport> {
  const room = await arena.store.room();
  const fleet = await Fleet.start(1, fleetPlan(settingOf(arena, room)), deathsAt(checkpoint));
  try {
    await allListen(fleet);
    const until = sharedMs() + PATIENCE_MS;
    const customers = Array.from({ length: CUSTOMERS }, (_, index) => {
      const customer = drawCustomer(seededRandom(seed + index), room.namespace, index, 0);
      // Each route with and without steps.
      const kind = index < ROUTE_NAMES.length ? 'steps' : 'plain';
      return { ...customer, order: { ...customer.order, kind } as const };
    });
    const served = customers.filter(({ order }) => checkpoint !== 'completer' || ROUTES[order.route].completes);
    await Promise.all(served.map((customer) => insist(customer, () => fleet.urls, until)));
    const report = await close(arena, { room, fleet, customers: served, weather: 'all' });
    const isMissed = !report.fatalSteps.includes(checkpoint);
    const missed = isMissed ? [`no process came to ${checkpoint}`] : [];
    const violations = [...report.violations, ...missed].map((violation) => `death at ${checkpoint}: ${violation}`);
    return { ...report, violations };
  } finally {
    await fleet.stop();
  }
}

/**
 * A completer has something to do only after a first death that leaves a step behind: of two keys whose first step is the
 * order, the third step that runs is the second one of its key.
 */
function deathsAt(checkpoint: string): NextDeath {
  const deaths = checkpoint === 'completer' ? [{ name: 'idempotency.step', hit: 3 }] : [];
  deaths.push({ name: checkpoint, hit: 1 });
  return () => deaths.shift();
}
