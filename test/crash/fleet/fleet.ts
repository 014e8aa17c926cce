import {
  type CheckpointHit,
  type ChildHandle,
  eventually,
  type FaultProxy,
  type SeededRandom,
  spawnNode,
  startFaultProxy,
} from '@lockstep/testing';

/** What all workers have in common; each reaches the store by a proxy of its own. */
export interface FleetPlan {
  /** Of the store, as the proxies reach it. */
  readonly serverUrl: string;
  /** Built; a child process is plain Node. */
  readonly script: string;
  /** What a worker is told in its environment. */
  environment(storeUrl: string): Readonly<Record<string, string>>;
}

/** Message that asks a worker to shut down in an orderly way. */
export const STOP = 'stop';

/** What a worker says once it listens. */
export interface WorkerReady {
  readonly url: string;
}

export type NextDeath = () => CheckpointHit | undefined;

/** @param rate share of the processes that die at one of the checkpoints */
export function randomDeaths(random: SeededRandom, rate: number, checkpoints: readonly string[]): NextDeath {
  return () => {
    const death = { name: random.pick(checkpoints), hit: random.integer(1, 6) };
    return random.next() < rate ? death : undefined;
  };
}

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;
const QUOTED_LINES = 60;

/** A process that is started again whenever it dies: starting → ready → dead → starting … → stopped. */
export class Member {
  kills = 0;
  readonly fatalSteps: string[] = [];
  readonly faults: string[] = [];
  private child: ChildHandle | undefined;
  private readyUrl: string | undefined;
  private isStopping = false;
  private life: Promise<void> | undefined;

  constructor(
    readonly proxy: FaultProxy,
    private readonly plan: FleetPlan,
    private readonly nextDeath: NextDeath,
  ) {}

  /** Where it listens; undefined while it is down. */
  get url(): string | undefined {
    return this.readyUrl;
  }

  start(): void {
    this.life = this.live();
  }

  async kill(): Promise<void> {
    await this.child?.sigkill();
  }

  /** Stops it by SIGSTOP. What it returns lets it go on: that process, not the one that may be in its place by then. */
  freeze(): () => void {
    const { child } = this;
    child?.sigstop();
    return () => child?.sigcont();
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    const { child } = this;
    child?.sigcont();
    if (this.readyUrl === undefined) await child?.sigkill();
    else child?.send(STOP);
    const timer = setTimeout(() => {
      this.faults.push('a worker did not end as told');
      void child?.sigkill();
    }, STOP_TIMEOUT_MS);
    await this.life;
    clearTimeout(timer);
    await this.proxy.stop();
  }

  private async live(): Promise<void> {
    const { plan, proxy } = this;
    const env = plan.environment(proxy.urlFor(plan.serverUrl));
    while (!this.isStopping) {
      const killAt = this.nextDeath();
      const child = spawnNode(plan.script, { env, ...(killAt === undefined ? {} : { killAt }) });
      this.child = child;
      await Promise.race([this.noteUrl(child), child.exited]);
      const exit = await child.exited;
      this.readyUrl = undefined;
      this.faults.push(...child.unhandledRejections.map((reason) => `unhandled rejection in a worker: ${reason}`));
      if (killAt !== undefined && child.hits(killAt.name) >= (killAt.hit ?? 1)) this.fatalSteps.push(killAt.name);
      if (exit.signal === 'SIGKILL') this.kills += Number(!this.isStopping);
      else if (!this.isStopping || exit.code !== 0) {
        this.faults.push(`a worker ended by itself (${exit.code}): ${child.lines.slice(-QUOTED_LINES).join('\n')}`);
      }
    }
  }

  private async noteUrl(child: ChildHandle): Promise<void> {
    try {
      const ready = (await child.waitForMessage(() => true, START_TIMEOUT_MS)) as WorkerReady;
      this.readyUrl = ready.url;
    } catch (error) {
      // It was killed before it listened; why else it ended is noted with its end.
      if (!this.isStopping && child.lines.length > 0) this.faults.push(String(error));
    }
  }
}

export class Fleet {
  private constructor(readonly members: readonly Member[]) {}

  /** @param nextDeath where the next process is to die, if anywhere */
  static async start(size: number, plan: FleetPlan, nextDeath: NextDeath = () => undefined): Promise<Fleet> {
    const proxies = await Promise.all(Array.from({ length: size }, () => startFaultProxy({ target: plan.serverUrl })));
    return Fleet.of(proxies.map((proxy) => new Member(proxy, plan, nextDeath)));
  }

  /** Of members that are not all alike. */
  static of(members: readonly Member[]): Fleet {
    const fleet = new Fleet(members);
    for (const member of members) member.start();
    return fleet;
  }

  get urls(): string[] {
    return this.members.map(({ url }) => url).filter((url) => url !== undefined);
  }

  get kills(): number {
    return this.members.reduce((sum, { kills }) => sum + kills, 0);
  }

  get fatalSteps(): string[] {
    return this.members.flatMap(({ fatalSteps }) => fatalSteps);
  }

  /** What nothing excuses: rejections that nobody handled, and processes that ended by themselves. */
  get faults(): string[] {
    return this.members.flatMap(({ faults }) => faults);
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.stop()));
  }
}

/** Resolves when all of them serve. */
export async function allListen(fleet: Fleet): Promise<void> {
  await eventually(
    () => {
      if (fleet.urls.length < fleet.members.length) throw new Error(`${fleet.urls.length} workers listen`);
    },
    { timeoutMs: START_TIMEOUT_MS, intervalMs: 50 },
  );
}
