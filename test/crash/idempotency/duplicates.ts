import { randomBytes } from 'node:crypto';
import { type RedisServer, seededRandom } from '@lockstep/testing';
import { Bank } from './bank.js';
import { ask, type Customer, drawCustomer } from './customers.js';
import { Fleet } from './fleet.js';
import { checkLeaks, leftKeys } from './leaks.js';
import { allListen, countBy, judge, printed, type RoundReport, settle } from './round.js';

export interface DuplicateStorm {
  readonly bankUrl: string;
  readonly server: RedisServer;
  readonly seed: number;
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
export async function playDuplicates(storm: DuplicateStorm): Promise<RoundReport> {
  const { bankUrl, server, seed, kills, ignoresClaims = false } = storm;
  const namespace = `d${randomBytes(6).toString('hex')}`;
  const random = seededRandom(seed);
  const bank = new Bank(bankUrl);
  const setting = { store: 'redis', serverUrl: server.url, namespace, bankUrl, ...TIMES, ignoresClaims } as const;
  const fleet = await Fleet.start(2, setting, random);
  try {
    await allListen(fleet);
    const customers = Array.from({ length: storm.keys }, (_, index) =>
      drawCustomer(seededRandom(seed + index), namespace, index, 0),
    );
    const requests = random.shuffle(customers.flatMap((one) => Array.from({ length: storm.duplicates }, () => one)));
    await sendAll(requests, fleet, kills);
    await allListen(fleet);
    // The control is not expected to come to rest.
    const rest = ignoresClaims ? ask : (one: Customer) => settle(one, fleet);
    const finals = new Map(
      await Promise.all(customers.map(async (one) => [one, await rest(one, fleet.urls)] as const)),
    );
    const books = await bank.books(namespace);
    await fleet.stop();
    const weather = kills > 0 ? 'all' : 'network';
    const violations = [
      ...customers.flatMap((one) => judge(one, books, finals.get(one), weather)),
      ...checkLeaks(await leftKeys(server.url, namespace)),
      ...fleet.faults,
    ];
    const counts = countBy(customers.flatMap(({ answers }) => answers.map(({ status }) => String(status))));
    const summary = `${requests.length} requests of ${customers.length} keys, answers ${printed(counts)}`;
    return { violations, kills: fleet.kills, summary };
  } finally {
    await fleet.stop();
    await bank.close();
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
