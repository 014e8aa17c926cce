import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually, seededRandom } from '@lockstep/testing';
import { allListen } from '../fleet/fleet.js';
import { countBy, printed } from '../fleet/summary.js';
import { noteSent } from './books.js';
import { SIGN_OF } from './breach.js';
import { Crew, type CrewPlan } from './crew.js';
import { type Desk, openDesk } from './desk.js';
import { type Errand, KEPT } from './errand.js';
import { BROKER_EMPTIED, rage } from './faults.js';
import { balance } from './ledger.js';
import { Operator } from './operator.js';
import { countEffects, readBooks, readUnderWay } from './read-books.js';
import { BROKERS, type BrokerName, DATABASES, type DatabaseName } from './server-choice.js';

export interface SeasonPlan extends Pick<CrewPlan, 'size' | 'breach'> {
  /** One storm each. */
  readonly seeds: readonly number[];
  readonly stormMs: number;
  readonly database: DatabaseName;
  readonly broker: BrokerName;
  /** How often a message comes that kills whoever handles it. */
  readonly poisonEvery: number;
  /** Storms after which everything must come to rest. */
  readonly restEvery: number;
  /** Share of the processes that die at one of their checkpoints. */
  readonly deathRate: number;
  /** Called when the books were balanced. */
  readonly onRest?: (summary: string) => void;
}

export interface SeasonReport {
  readonly violations: readonly string[];
  readonly kills: number;
  readonly summary: string;
}

const LEASE_MS = 1_000;
const SETTLE_MS = 240_000;
const MOST_CONTROL_MS = 90_000;
/** Longer than the pause between two messages that only the broker knows of. */
const STILL_MS = 3_000;

/**
 * Storms one after the other over the same processes and servers: producers write, faults strike, and after some storms
 * everything must come to rest and the books must balance.
 */
export async function playSeason(plan: SeasonPlan): Promise<SeasonReport> {
  const { start } = DATABASES[plan.database];
  const [database, broker] = await Promise.all([start(), BROKERS[plan.broker].start()]);
  const databaseUrl = await database.createDatabase('chaos');
  const desk = await openDesk(plan.database, databaseUrl);
  const namespace = `c${randomBytes(6).toString('hex')}`;
  const crewPlan: CrewPlan = { ...plan, databaseUrl, brokerUrl: broker.url, namespace };
  const crew = await Crew.start(crewPlan, seededRandom(plan.seeds[0] ?? 0));
  const operator = new Operator(desk);
  try {
    operator.start();
    await allListen(crew.fleet);
    const season = new Season(plan, desk, { crew, database, broker, leaseMs: LEASE_MS });
    return await season.play();
  } finally {
    await crew.stop();
    await operator.stop();
    await desk.close();
    await Promise.all([database.stop(), broker.stop()]);
  }
}

class Season {
  private readonly violations: string[] = [];
  private readonly emptied = new Set<number>();
  private readonly struck: string[] = [];

  constructor(
    private readonly plan: SeasonPlan,
    private readonly desk: Desk,
    private readonly target: Parameters<typeof rage>[0],
  ) {}

  async play(): Promise<SeasonReport> {
    const { seeds, restEvery, onRest } = this.plan;
    let since: number[] = [];
    for (const [index, seed] of seeds.entries()) {
      since.push(seed);
      await this.storm(seed, index);
      if (since.length < restEvery && index < seeds.length - 1) continue;
      const startedAt = performance.now();
      // What is only with the broker when a storm begins is lost with it, too.
      if (since.some((one) => this.emptied.has(one))) for (const one of since) this.emptied.add(one);
      this.violations.push(...(await this.rest()));
      onRest?.(
        `seeds ${since.join(', ')}: at rest after ${Math.round(performance.now() - startedAt)} ms, ${this.target.crew.fleet.kills} kills so far, ${this.violations.length} violations`,
      );
      since = [];
    }
    const { fleet } = this.target.crew;
    const { sent, effects } = await readBooks(this.desk.sql);
    return {
      violations: [...new Set(this.violations), ...fleet.faults],
      kills: fleet.kills,
      summary: `${sent.length} messages, ${effects.length} effects; ${fleet.kills} kills, at checkpoints ${printed(countBy(fleet.fatalSteps))}; ${printed(countBy(this.struck))}`,
    };
  }

  private async storm(seed: number, index: number): Promise<void> {
    const { sql } = this.desk;
    await sql.execute('INSERT INTO book_round (seed, is_open) VALUES ($1, 1)', [seed]);
    if (index % this.plan.poisonEvery === this.plan.poisonEvery - 1) await this.poison(seed);
    this.target.crew.isCalm = false;
    const struck = await this.strike(seed);
    this.target.crew.isCalm = true;
    for (const [name, times] of struck) this.struck.push(...Array<string>(times).fill(name));
    if (struck.has(BROKER_EMPTIED)) this.emptied.add(seed);
    await eventually(() => sql.execute('UPDATE book_round SET is_open = 0'), { timeoutMs: 30_000 });
  }

  /** A control has nothing against it but the deaths in which a broken guarantee shows. */
  private async strike(seed: number): Promise<ReadonlyMap<string, number>> {
    const { breach, stormMs } = this.plan;
    if (breach === undefined)
      return rage(
        this.target,
        [1, 2, 3].map((kind) => seededRandom(seed * 4 + kind)),
        stormMs,
      );
    if (breach === 'no-inbox') await this.untilDoubled();
    else await sleep(stormMs);
    return new Map();
  }

  /** A process that dies with a strict message doubles nothing: the gate knows it by its place. */
  private async untilDoubled(): Promise<void> {
    const look = async (): Promise<void> => {
      if (!(await this.hasSign())) throw new Error('no process has died yet in which a copy is doubled');
    };
    await eventually(look, { timeoutMs: MOST_CONTROL_MS, intervalMs: 250 });
  }

  private async poison(seed: number): Promise<void> {
    const errand: Errand = { tag: randomUUID(), fate: 'poison', at: 'alpha', failures: 0, filler: '' };
    await this.desk.sql.transaction(async (tx) => {
      await noteSent(tx, seed, errand, { topic: KEPT });
      await this.desk.outbox.publish(KEPT, errand);
    });
  }

  /** What does not balance by the end of its patience never will. */
  private async rest(): Promise<readonly string[]> {
    if (this.plan.breach !== undefined) {
      await this.untilItShows();
      return this.problems();
    }
    let problems: readonly string[] = [];
    const look = async (): Promise<void> => {
      const { pending, inFlight } = await readUnderWay(this.desk.sql);
      problems = [`${pending} messages wait and ${inFlight} are in flight`];
      if (pending + inFlight === 0) problems = await this.problems();
      if (problems.length > 0) throw new Error(problems[0]);
    };
    try {
      await eventually(look, { timeoutMs: SETTLE_MS, intervalMs: 250 });
      return [];
    } catch (error) {
      return problems.length > 0 ? problems : [String(error)];
    }
  }

  private async problems(): Promise<readonly string[]> {
    return balance(await readBooks(this.desk.sql), (seed) => this.emptied.has(seed));
  }

  private async hasSign(): Promise<boolean> {
    return (await this.problems()).some((problem) => SIGN_OF['no-inbox'].test(problem));
  }

  /** Where a guarantee is broken, nobody can say what everybody waits for. */
  private async untilItShows(): Promise<void> {
    let last = '';
    let since = 0;
    await eventually(
      async () => {
        const { pending, inFlight } = await readUnderWay(this.desk.sql);
        const now = JSON.stringify([pending, inFlight, await countEffects(this.desk.sql)]);
        // Two effects stay two; none may be one in a moment.
        if (this.plan.breach === 'no-inbox' && (await this.hasSign())) return;
        // What is in flight may be a strict key that waits for ever for the one that was lost.
        if (now !== last || pending > 0) since = performance.now();
        last = now;
        if (performance.now() - since < STILL_MS) throw new Error('something still moves');
      },
      { timeoutMs: SETTLE_MS, intervalMs: 250 },
    );
  }
}
