import { type FaultProxy, type SeededRandom, startFaultProxy } from '@lockstep/testing';
import { Fleet, Member, type NextDeath } from '../fleet/fleet.js';
import {
  type Breach,
  FATAL_CHECKPOINTS,
  type Role,
  WORKER_SCRIPT,
  type WorkerSetting,
  workerEnvironment,
} from './worker-setting.js';

export interface CrewPlan extends Pick<WorkerSetting, 'database' | 'broker' | 'namespace' | 'breach' | 'outbox'> {
  readonly databaseUrl: string;
  readonly brokerUrl: string;
  readonly size: Readonly<Record<Role, number>>;
  /** Share of the processes that die at one of their checkpoints. */
  readonly deathRate: number;
}

/** A producer passes its checkpoints with every transaction, the others with every batch or less. */
const MOST_HITS: Readonly<Record<Role, number>> = { producer: 60, relay: 15, consumer: 25 };

/** Where a broken guarantee shows for certain. */
const TELLING_DEATHS: Readonly<Record<Breach, Partial<Record<Role, readonly string[]>>>> = {
  'no-inbox': { consumer: ['outbox.consumer.committed'] },
  'deletes-first': { relay: ['outbox.claimed'] },
};

const TELLING_HITS = 3;

/** Processes of all roles; each reaches the database and the broker by proxies of its own. */
export class Crew {
  private constructor(
    readonly fleet: Fleet,
    /** Towards the database and the broker, of all processes. */
    readonly proxies: readonly FaultProxy[],
    private readonly weather: Weather,
  ) {}

  static async start(plan: CrewPlan, random: SeededRandom): Promise<Crew> {
    const roles = (Object.keys(plan.size) as Role[]).flatMap((role) => Array<Role>(plan.size[role]).fill(role));
    const brokers = await Promise.all(roles.map(() => startFaultProxy({ target: plan.brokerUrl })));
    const databases = await Promise.all(roles.map(() => startFaultProxy({ target: plan.databaseUrl })));
    const weather: Weather = { isCalm: false };
    const members = roles.map((role, index) => {
      const [broker, database] = [brokers[index], databases[index]];
      if (!broker || !database) throw new Error('a proxy for each process');
      return memberOf(plan, role, { broker, database }, deathsOf(plan, role, random, weather));
    });
    return new Crew(Fleet.of(members), [...brokers, ...databases], weather);
  }

  /** Whether processes that start from now on are told to die. */
  set isCalm(isCalm: boolean) {
    this.weather.isCalm = isCalm;
  }

  async stop(): Promise<void> {
    await this.fleet.stop();
    await Promise.all(this.proxies.map((proxy) => proxy.stop()));
  }
}

function memberOf(
  plan: CrewPlan,
  role: Role,
  { broker, database }: Readonly<Record<'broker' | 'database', FaultProxy>>,
  deaths: NextDeath,
): Member {
  const { size: _size, deathRate: _rate, ...common } = plan;
  const environment = (databaseUrl: string) =>
    workerEnvironment({ ...common, databaseUrl, brokerUrl: broker.urlFor(plan.brokerUrl), roles: [role] });
  return new Member(database, { serverUrl: plan.databaseUrl, script: WORKER_SCRIPT, environment }, deaths);
}

interface Weather {
  isCalm: boolean;
}

function deathsOf(plan: CrewPlan, role: Role, random: SeededRandom, weather: Weather): NextDeath {
  const checkpoints = plan.breach === undefined ? FATAL_CHECKPOINTS[role] : (TELLING_DEATHS[plan.breach][role] ?? []);
  return () => {
    if (checkpoints.length === 0 || weather.isCalm || random.next() >= plan.deathRate) return undefined;
    const most = plan.breach === undefined ? MOST_HITS[role] : TELLING_HITS;
    return { name: random.pick(checkpoints), hit: random.integer(1, most + 1) };
  };
}
