import { randomBytes } from 'node:crypto';
import { EventuallyTimeoutError, eventually, seededRandom, startRedis } from '@lockstep/testing';
import { sharedMs } from '../lock/shared-clock.js';
import { Bank, type Books } from './bank.js';
import { type Answer, ask, type Customer, drawCustomer, insist, isFinal } from './customers.js';
import { rage, type Weather } from './faults.js';
import { Fleet, type FleetSetting } from './fleet.js';
import { checkHistory, type History, timelineOf } from './history.js';
import { checkLeaks, leftKeys } from './leaks.js';
import { ROUTES } from './routes.js';

export interface RoundSize {
  readonly workers: number;
  readonly customers: number;
  /** How long faults strike. */
  readonly stormMs: number;
}

export interface RoundReport {
  readonly violations: readonly string[];
  readonly kills: number;
  readonly summary: string;
}

const LEASE_MS = 1_500;
const COMMAND_TIMEOUT_MS = 700;
const START_TIMEOUT_MS = 60_000;
const SETTLE_TIMEOUT_MS = 60_000;
/** Share of the processes that die at a checkpoint of theirs. */
const DEATH_RATE = 0.5;

/** One round: customers insist while faults strike; afterwards all settles, and the books must balance. */
export async function playRound(bankUrl: string, seed: number, size: RoundSize): Promise<RoundReport> {
  const weather: Weather = seed % 3 === 0 ? 'network' : 'all';
  const namespace = `c${randomBytes(6).toString('hex')}`;
  const random = seededRandom(seed);
  const bank = new Bank(bankUrl);
  const server = await startRedis({ appendonly: 'always', args: ['--maxmemory-policy', 'noeviction'] });
  const fleet = await Fleet.start(
    size.workers,
    settingOf(bankUrl, server.url, namespace),
    random,
    weather === 'all' ? DEATH_RATE : 0,
  );
  try {
    await allListen(fleet);
    const customers = Array.from({ length: size.customers }, (_, index) =>
      drawCustomer(seededRandom(seed + index), namespace, index, size.stormMs * 0.9),
    );
    const until = sharedMs() + size.stormMs;
    const shopping = Promise.all(customers.map((customer) => insist(customer, () => fleet.urls, until)));
    const struck = await rage({ fleet, server, leaseMs: LEASE_MS }, seed, size.stormMs, weather);
    await shopping;
    const finals = new Map(await Promise.all(customers.map(async (one) => [one, await settle(one, fleet)] as const)));
    const books = await bank.books(namespace);
    await fleet.stop();
    const violations = [
      ...customers.flatMap((one) => judge(one, books, finals.get(one), weather)),
      ...checkLeaks(await leftKeys(server.url, namespace)),
      ...fleet.faults,
    ];
    return { violations, kills: fleet.kills, summary: summaryOf(customers, books, fleet, struck) };
  } finally {
    await fleet.stop();
    await server.stop();
    await bank.close();
  }
}

function settingOf(bankUrl: string, serverUrl: string, namespace: string): FleetSetting {
  const times = { leaseMs: LEASE_MS, commandTimeoutMs: COMMAND_TIMEOUT_MS };
  return { store: 'redis', serverUrl, namespace, bankUrl, ...times, ignoresClaims: false };
}

export async function allListen(fleet: Fleet): Promise<void> {
  await eventually(
    () => {
      if (fleet.urls.length < fleet.members.length) throw new Error(`${fleet.urls.length} workers listen`);
    },
    { timeoutMs: START_TIMEOUT_MS, intervalMs: 50 },
  );
}

/** What the key comes to when nothing strikes any more. */
export async function settle(customer: Customer, fleet: Fleet): Promise<Answer | undefined> {
  const { completes } = ROUTES[customer.order.route];
  let last: Answer | undefined;
  try {
    await eventually(
      async () => {
        last = await ask(customer, fleet.urls);
        const isSettled = last && isFinal(last) && !(completes && last.status === 409);
        if (!isSettled) throw new Error('it is not settled');
      },
      { timeoutMs: SETTLE_TIMEOUT_MS, intervalMs: 400 },
    );
  } catch (error) {
    if (!(error instanceof EventuallyTimeoutError)) throw error;
  }
  return last;
}

export function judge(
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

function summaryOf(
  customers: readonly Customer[],
  { runs }: Books,
  fleet: Fleet,
  struck: ReadonlyMap<string, number>,
): string {
  const answers = customers.flatMap((customer) => customer.answers);
  const counts = countBy(answers.map(({ status, code }) => (code === '' ? String(status) : `${status} ${code}`)));
  const deaths = countBy(fleet.fatalSteps);
  return (
    `${customers.length} keys, ${runs.length} runs, answers ${printed(counts)}; ` +
    `${fleet.kills} kills, at checkpoints ${printed(deaths)}; ${printed(struck)}`
  );
}

export function countBy(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

export function printed(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, times]) => `${times} × ${name}`).join(', ') || 'none';
}
