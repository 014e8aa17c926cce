import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ChildHandle, type FaultProxy, type SeededRandom, spawnNode, startFaultProxy } from '@lockstep/testing';
import { type Note, readJournal } from './journal.js';
import { sharedMs } from './shared-clock.js';
import { workerScript } from './worker-script.js';
import { FREEZE, STOP, THAW, WORKER_SETTING, type WorkerSetting, type WorkerState } from './worker-setting.js';

/** What all workers of a round have in common. */
export type CrewSetting = Omit<WorkerSetting, 'name' | 'seed' | 'journal' | 'lockUrl'> & {
  readonly serverUrl: string;
  /** Folder of the journals. */
  readonly folder: string;
};

/** One process from its start to its end. */
export class Life {
  /** Before the SIGKILL was sent, by the clock of the machine. */
  killedAt: number | undefined;

  constructor(
    readonly child: ChildHandle,
    private readonly journal: string,
  ) {}

  get state(): WorkerState | undefined {
    return this.child.messages.at(-1) as WorkerState | undefined;
  }

  get notes(): Note[] {
    // A process may be killed before it has begun.
    return existsSync(this.journal) ? readJournal(this.journal) : [];
  }

  /** Lets it stop itself at its next step between read and write. False when that does not come in time. */
  async freezeInThought(patienceMs: number): Promise<boolean> {
    const until = performance.now() + patienceMs;
    this.child.send(FREEZE);
    while (performance.now() < until) {
      if (this.state?.doing === 'frozen') return true;
      await sleep(POLL_MS);
    }
    this.child.send(THAW);
    // It may be on its way into the freeze; the SIGCONT that follows must come after it.
    await sleep(THAW_MS);
    return false;
  }
}

const POLL_MS = 5;
const THAW_MS = 200;
const STOP_TIMEOUT_MS = 15_000;
const QUOTED_LINES = 10;

/** A worker that is started again whenever it was killed, behind a fault proxy of its own. */
export class Worker {
  readonly lives: Life[] = [];
  private isStopping = false;

  constructor(
    readonly name: string,
    readonly proxy: FaultProxy,
    private readonly setting: CrewSetting,
    private readonly random: SeededRandom,
  ) {}

  get state(): WorkerState | undefined {
    return this.life?.state;
  }

  /** The process of now. */
  get life(): Life | undefined {
    return this.lives.at(-1);
  }

  start(): void {
    const { serverUrl, folder, ...common } = this.setting;
    const name = `${this.name}.${this.lives.length + 1}`;
    const journal = join(folder, `${name}.jsonl`);
    const lockUrl = this.proxy.urlFor(serverUrl);
    const setting: WorkerSetting = { ...common, name, seed: this.random.integer(0, 2 ** 31), journal, lockUrl };
    const child = spawnNode(workerScript, { env: { [WORKER_SETTING]: JSON.stringify(setting) } });
    this.lives.push(new Life(child, journal));
  }

  async kill(): Promise<void> {
    const { life } = this;
    if (!life || this.isStopping) return;
    life.killedAt = sharedMs();
    await life.child.sigkill();
    if (!this.isStopping) this.start();
  }

  /** Asks for an orderly end, once. Returns what it did wrong. */
  async stop(): Promise<string[]> {
    const { life } = this;
    if (!life || this.isStopping) return [];
    this.isStopping = true;
    life.child.sigcont();
    life.child.send(STOP);
    const timer = setTimeout(() => void life.child.sigkill(), STOP_TIMEOUT_MS);
    const { code, signal } = await life.child.exited;
    clearTimeout(timer);
    if (code === 0) return [];
    return [
      `${this.name} did not end as told (${signal ?? code}):\n${life.child.lines.slice(-QUOTED_LINES).join('\n')}`,
    ];
  }
}

/** The workers of a round. */
export class Crew {
  private constructor(readonly workers: readonly Worker[]) {}

  static async start(size: number, setting: CrewSetting, random: SeededRandom): Promise<Crew> {
    const names = Array.from({ length: size }, (_, index) => `w${index + 1}`);
    const workers = await Promise.all(
      names.map(async (name) => {
        const proxy = await startFaultProxy({ target: setting.serverUrl });
        return new Worker(name, proxy, setting, random);
      }),
    );
    for (const worker of workers) worker.start();
    return new Crew(workers);
  }

  get lives(): Life[] {
    return this.workers.flatMap((worker) => worker.lives);
  }

  get kills(): number {
    return this.lives.filter(({ killedAt }) => killedAt !== undefined).length;
  }

  /** Who holds a lock, if possible one that is between its read and its write. */
  holders(): Worker[] {
    const thinking = this.workers.filter(({ state }) => state?.doing === 'thinking');
    return thinking.length > 0 ? thinking : this.workers.filter(({ state }) => state?.doing === 'holding');
  }

  /** Who waits for the key, longest first. */
  waiters(key: string): Worker[] {
    const waiting = this.workers.filter(({ state }) => state?.doing === 'waiting' && state.key === key);
    return waiting.sort((one, other) => (one.state?.since ?? 0) - (other.state?.since ?? 0));
  }

  /** Ends all. Returns what no fault excuses. */
  async stop(): Promise<string[]> {
    const ends = await Promise.all(this.workers.map((worker) => worker.stop()));
    await Promise.all(this.workers.map(({ proxy }) => proxy.stop()));
    const rejections = this.lives.flatMap(({ child }) => child.unhandledRejections);
    return [...ends.flat(), ...rejections.map((reason) => `unhandled rejection in a worker: ${reason}`)];
  }
}
