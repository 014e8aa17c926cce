import { seededRandom } from '@lockstep/testing';
import { rage, type Weather } from '../fleet/faults.js';
import { allListen, Fleet, randomDeaths } from '../fleet/fleet.js';
import type { StoreServer } from '../fleet/store-server.js';
import { countBy, printed } from '../fleet/summary.js';
import { sharedMs } from '../lock/shared-clock.js';
import { Browser } from './browser.js';
import { checkLeaks, type LeftKey } from './leaks.js';
import { checkVisit, type Span } from './visit.js';
import { FATAL_CHECKPOINTS, fleetPlan } from './worker-setting.js';

export interface RoundSize {
  readonly workers: number;
  readonly users: number;
  /** How long faults strike. */
  readonly stormMs: number;
  /** The guarantee, broken; nothing else strikes then. */
  readonly resurrects?: boolean;
}

export interface RoundReport {
  readonly violations: readonly string[];
  readonly kills: number;
  readonly summary: string;
}

const COMMAND_TIMEOUT_MS = 700;
const SPAN_MS = 1_200;
const DEATH_RATE = 0.5;
const DEVICES = 2;

/** One round: users log in, work and leave while faults strike; afterwards every token they ever had is looked at. */
export async function playRound(store: StoreServer<LeftKey>, seed: number, size: RoundSize): Promise<RoundReport> {
  const { resurrects = false, stormMs } = size;
  const weather: Weather = seed % 3 === 0 ? 'network' : 'all';
  const room = await store.room();
  const { namespace, url: serverUrl } = room;
  const plan = fleetPlan({ store: store.name, serverUrl, namespace, commandTimeoutMs: COMMAND_TIMEOUT_MS, resurrects });
  const rate = weather === 'all' && !resurrects ? DEATH_RATE : 0;
  const fleet = await Fleet.start(size.workers, plan, randomDeaths(seededRandom(seed), rate, FATAL_CHECKPOINTS));
  try {
    await allListen(fleet);
    const browsers = drawBrowsers(fleet, size.users, namespace, seed);
    const until = sharedMs() + stormMs;
    const browsing = Promise.all(browsers.map((browser) => browser.browse(until)));
    const target = { fleet, server: store.server, spanMs: SPAN_MS };
    const struck = resurrects ? new Map<string, number>() : await rage(target, seed, stormMs, weather);
    await browsing;
    await allListen(fleet);
    await Promise.all(browsers.map((browser) => browser.lookAtAll()));
    const unlisted = await findUnlisted(browsers, fleet);
    const left = await room.left();
    await fleet.stop();
    const visits = browsers.flatMap((browser) => browser.visits);
    const statuses = countBy(visits.flatMap(({ observations }) => observations.map(({ status }) => String(status))));
    return {
      violations: [...visits.flatMap(checkVisit), ...unlisted, ...checkLeaks(left), ...fleet.faults],
      kills: fleet.kills,
      summary: `${store.name}: ${visits.length} visits, answers ${printed(statuses)}; ${fleet.kills} kills, at checkpoints ${printed(countBy(fleet.fatalSteps))}; ${printed(struck)}`,
    };
  } finally {
    await fleet.stop();
  }
}

function drawBrowsers(fleet: Fleet, users: number, namespace: string, seed: number): Browser[] {
  const revocations = Array.from({ length: users }, (): Span[] => []);
  return Array.from({ length: users * DEVICES }, (_, index) => {
    const user = index % users;
    return new Browser(`${namespace}-${user}`, seededRandom(seed + index), () => fleet.urls, revocations[user] ?? []);
  });
}

/** A session that lives and that its user is not shown could not be revoked by him. */
async function findUnlisted(browsers: readonly Browser[], fleet: Fleet): Promise<string[]> {
  const problems: string[] = [];
  for (const user of new Set(browsers.map((browser) => browser.user))) {
    const response = await fetch(`${fleet.urls[0]}/devices/${user}`);
    const listed = (await response.json()) as readonly string[];
    const live = browsers.filter((browser) => browser.user === user).flatMap((browser) => browser.liveHandles());
    for (const handle of live)
      if (!listed.includes(handle)) problems.push(`${user}: ${handle} lives and is not listed`);
  }
  return problems;
}
