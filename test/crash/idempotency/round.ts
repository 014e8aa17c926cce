import { EventuallyTimeoutError, eventually, seededRandom } from '@lockstep/testing';
import { rage, type Weather } from '../fleet/faults.js';
import { allListen, Fleet, randomDeaths } from '../fleet/fleet.js';
import type { StoreRoom } from '../fleet/store-server.js';
import { countBy, printed } from '../fleet/summary.js';
import { sharedMs } from '../lock/shared-clock.js';
import type { Bank, Books } from './bank.js';
import { type Answer, ask, type Customer, drawCustomer, insist, isFinal } from './customers.js';
import { FATAL_CHECKPOINTS, fleetPlan } from './fleet-plan.js';
import { checkHistory, type History, timelineOf } from './history.js';
import { checkLeaks, type LeftKey } from './leaks.js';
import { ROUTES } from './routes.js';
import type { OperationStore } from './store-server.js';
import type { FleetSetting } from './worker-setting.js';

export interface RoundSize {
  readonly workers: number;
  readonly customers: number;
  /** How long faults strike. */
  readonly stormMs: number;
}

/** Where rounds are played. */
export interface Arena {
  readonly store: OperationStore;
  readonly bank: Bank;
  readonly bankUrl: string;
}

export interface RoundReport {
  readonly violations: readonly string[];
  readonly kills: number;
  /** Where processes have died as they were told. */
  readonly fatalSteps: readonly string[];
  readonly summary: string;
}

const LEASE_MS = 1_500;
const COMMAND_TIMEOUT_MS = 700;
const SETTLE_TIMEOUT_MS = 60_000;
/** Share of the processes that die at a checkpoint of theirs. */
const DEATH_RATE = 0.5;

/** One round: customers insist while faults strike; afterwards all settles, and the books must balance. */
export async function playRound(arena: Arena, seed: number, size: RoundSize): Promise<RoundReport> {
  const weather: Weather = seed % 3 === 0 ? 'network' : 'all';
  const { server } = arena.store;
  const room = await arena.store.room();
  const deaths = randomDeaths(seededRandom(seed), weather === 'all' ? DEATH_RATE : 0, FATAL_CHECKPOINTS);
  const fleet = await Fleet.start(size.workers, fleetPlan(settingOf(arena, room)), deaths);
  try {
    await allListen(fleet);
    const customers = Array.from({ length: size.customers }, (_, index) =>
      drawCustomer(seededRandom(seed + index), room.namespace, index, size.stormMs * 0.9),
    );
    const until = sharedMs() + size.stormMs;
    const shopping = Promise.all(customers.map((customer) => insist(customer, () => fleet.urls, until)));
    const struck = await rage({ fleet, server, spanMs: LEASE_MS }, seed, size.stormMs, weather);
    await shopping;
    const report = await close(arena, { room, fleet, customers, weather });
    return { ...report, summary: `${report.summary}; ${printed(struck)}` };
  } finally {
    await fleet.stop();
  }
}

/** A play that is over, and how it is judged. */
export interface Closing {
  readonly room: StoreRoom<LeftKey>;
  readonly fleet: Fleet;
  readonly customers: readonly Customer[];
  readonly weather: Weather;
  /** How long a key may take to settle. */
  readonly settleMs?: number;
}

/** Lets all keys settle, ends the workers and balances the books. */
export async function close(
  arena: Arena,
  { room, fleet, customers, weather, settleMs = SETTLE_TIMEOUT_MS }: Closing,
): Promise<RoundReport> {
  const finals = new Map<Customer, Answer | undefined>();
  const settleAll = async (ones: readonly Customer[], mustBeAnswered: boolean): Promise<void> => {
    await Promise.all(ones.map(async (one) => finals.set(one, await settle(one, fleet, settleMs, mustBeAnswered))));
  };
  await settleAll(customers, false);
  const ran = new Set((await arena.bank.books(room.namespace)).runs.map(({ key }) => key));
  // Nobody has died, so that the begin is still being taken back that made it uncertain.
  const idle = customers.filter((one) => !ran.has(one.order.key) && finals.get(one)?.status === 409);
  if (weather === 'network') await settleAll(idle, true);
  await fleet.stop();
  const books = await arena.bank.books(room.namespace);
  const violations = [
    ...customers.flatMap((one) => judge(one, books, finals.get(one), weather)),
    ...checkLeaks(await room.left()),
    ...fleet.faults,
  ];
  const { kills, fatalSteps } = fleet;
  return {
    violations,
    kills,
    fatalSteps,
    summary: `${arena.store.name}: ${summaryOf(customers, books, fleet)}`,
  };
}

export function settingOf({ store, bankUrl }: Arena, { url, namespace }: StoreRoom<LeftKey>): FleetSetting {
  const times = { leaseMs: LEASE_MS, commandTimeoutMs: COMMAND_TIMEOUT_MS };
  return { store: store.name, serverUrl: url, namespace, bankUrl, ...times, ignoresClaims: false };
}

/** What the key comes to when nothing strikes any more: an answer that is stored, or uncertain. */
async function settle(
  customer: Customer,
  fleet: Fleet,
  timeoutMs: number,
  mustBeAnswered: boolean,
): Promise<Answer | undefined> {
  const mayBeUncertain = !mustBeAnswered && !ROUTES[customer.order.route].completes;
  let last: Answer | undefined;
  try {
    await eventually(
      async () => {
        last = await ask(customer, fleet.urls);
        if (!last || !isFinal(last)) throw new Error('it has no answer');
        if (last.status === 409 ? !mayBeUncertain : !last.isReplayed) throw new Error('it is not settled');
      },
      { timeoutMs, intervalMs: 400 },
    );
  } catch (error) {
    if (!(error instanceof EventuallyTimeoutError)) throw error;
  }
  return last;
}

function judge(
  { order, answers }: Customer,
  { runs, charges, steps }: Books,
  final: Answer | undefined,
  weather: Weather,
): string[] {
  const ofKey = ({ key }: { readonly key: string }): boolean => key === order.key;
  const history: History = {
    order,
    answers,
    final,
    runs: runs.filter(ofKey),
    charges: charges.filter(ofKey),
    steps: steps.filter(ofKey),
    wereKills: weather === 'all',
  };
  const [first, ...others] = checkHistory(history);
  return first === undefined ? [] : [`${first}\n${timelineOf(history)}`, ...others];
}

function summaryOf(customers: readonly Customer[], { runs }: Books, fleet: Fleet): string {
  const answers = customers.flatMap((customer) => customer.answers);
  const counts = countBy(answers.map(({ status, code }) => (code === '' ? String(status) : `${status} ${code}`)));
  const deaths = countBy(fleet.fatalSteps);
  return (
    `${customers.length} keys, ${runs.length} runs, answers ${printed(counts)}; ` +
    `${fleet.kills} kills, at checkpoints ${printed(deaths)}`
  );
}
