import { setTimeout as sleep } from 'node:timers/promises';
import { describeThrown, isLockstepError } from '@lockstep/core';
import type { Lease, LockEvent, LockService } from '@lockstep/lock';
import type { SeededRandom } from '@lockstep/testing';
import type { Journal } from './journal.js';
import { type Register, withChange } from './register.js';
import { sharedMs } from './shared-clock.js';
import type { WorkerSetting, WorkerState } from './worker-setting.js';

/** What faults may lead to. Everything else is odd. */
const EXPECTED = new Set(['LOCK_BUSY', 'LOCK_LOST', 'STORE_UNAVAILABLE', 'STALE_FENCE']);
const REST_MS = [0, 40] as const;
const WAIT_MS = [300, 4_000] as const;
const THINK_MS = [15, 70] as const;
/** Share of the turns for the first of the keys, so that a queue forms there. */
const HOT = 0.7;
const STOP_SETTLE_MS = 10;
/** Share of the holds that outlast a lease. */
const LONG_HOLDS = 0.12;

interface Hold {
  readonly id: string;
  readonly lease: Lease;
}

/**
 * Takes one lock after the other and changes the registers under it, with a pause for thought between read and write,
 * and without a look at the lease: a process that was stopped in its thoughts does not know of the loss.
 */
export class Contender {
  /** Whether to stop by SIGSTOP before the next write. */
  isToFreeze = false;
  private isStopping = false;
  private holds = 0;
  private changes = 0;
  private current: Hold | undefined;

  constructor(
    private readonly setting: WorkerSetting,
    private readonly locks: LockService,
    private readonly registers: readonly Register[],
    private readonly journal: Journal,
    private readonly random: SeededRandom,
    private readonly tell: (state: WorkerState) => void,
  ) {
    locks.subscribe((event) => this.onEvent(event));
  }

  stop(): void {
    this.isStopping = true;
  }

  async run(): Promise<void> {
    while (!this.isStopping) {
      await this.takeTurn(this.nextKey());
      await sleep(this.random.integer(...REST_MS));
    }
  }

  private nextKey(): string {
    const { keys } = this.setting;
    const [hot] = keys;
    return hot !== undefined && this.random.next() < HOT ? hot : this.random.pick(keys);
  }

  private async takeTurn(key: string): Promise<void> {
    const options = { wait: this.random.integer(...WAIT_MS) };
    const askedAt = sharedMs();
    this.say('waiting', key);
    try {
      if (this.random.next() < 0.5) await this.locks.using(key, options, (lease) => this.hold(lease, askedAt));
      else {
        const lease = await this.locks.acquire(key, options);
        try {
          await this.hold(lease, askedAt);
        } finally {
          await lease.release();
        }
      }
    } catch (error) {
      this.noteFailure('lock', error);
    }
    this.say('idle', key);
  }

  /** Returns right before the release. */
  private async hold(lease: Lease, askedAt: number): Promise<void> {
    const at = sharedMs();
    this.holds += 1;
    const hold = { id: `${this.setting.name}.${this.holds}`, lease };
    this.current = hold;
    const { key, fence } = lease;
    const until = sharedMs(lease.deadline);
    this.journal.write({ type: 'granted', hold: hold.id, key, fence: String(fence), askedAt, at, until });
    this.say('holding', key);
    try {
      await this.work(hold);
    } finally {
      this.current = undefined;
      this.journal.write({ type: 'ended', hold: hold.id, at: sharedMs(), how: 'released' });
    }
  }

  private async work(hold: Hold): Promise<void> {
    const updates = this.random.integer(1, 3);
    for (let update = 0; update < updates; update += 1) {
      // A write whose outcome is unknown may still arrive: nothing may follow it under the same fence.
      if (!(await this.changeAll(hold))) return;
    }
    if (this.isStopping || this.random.next() >= LONG_HOLDS) return;
    const { ttlMs } = this.setting;
    const until = performance.now() + this.random.integer(ttlMs, 2 * ttlMs);
    while (performance.now() < until && !this.isStopping && hold.lease.isHeld()) await sleep(ttlMs / 20);
  }

  /** Reads all registers, thinks, and writes them all. Whether all of them took it. */
  private async changeAll(hold: Hold): Promise<boolean> {
    const { key, fence } = hold.lease;
    this.changes += 1;
    const change = `${this.setting.name}.${this.changes}`;
    const values = await Promise.all(
      this.registers.map((register) => this.attempt(register.name, () => register.read(key, fence))),
    );
    this.say('thinking', key);
    await sleep(this.random.integer(...THINK_MS));
    this.freezeIfTold(key);
    this.noteCertainty(hold);
    const changed = await Promise.all(
      this.registers.map((register, index) => this.change(register, hold.lease, values[index], change)),
    );
    return changed.every(Boolean);
  }

  private async change(
    register: Register,
    { key, fence }: Lease,
    value: string | undefined,
    change: string,
  ): Promise<boolean> {
    if (value === undefined) return false;
    const done = await this.attempt(register.name, async () => {
      await register.write(key, withChange(value, change), fence);
      this.journal.write({ type: 'changed', register: register.name, key, change });
      return true;
    });
    return done === true;
  }

  private async attempt<T>(what: string, step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step();
    } catch (error) {
      this.noteFailure(what, error);
      return undefined;
    }
  }

  private freezeIfTold(key: string): void {
    if (!this.isToFreeze || key !== this.setting.keys[0]) return;
    this.isToFreeze = false;
    this.say('frozen', key);
    process.kill(process.pid, 'SIGSTOP');
    // The signal may take a moment to arrive; the next write must come after it.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STOP_SETTLE_MS);
  }

  private noteCertainty({ id, lease }: Hold): void {
    const at = sharedMs();
    if (lease.isHeld()) this.journal.write({ type: 'sure', hold: id, at });
  }

  private onEvent(event: LockEvent): void {
    const { current } = this;
    if (event.key !== current?.lease.key) return;
    if (event.type === 'extended') {
      this.journal.write({ type: 'extended', hold: current.id, until: sharedMs(current.lease.deadline) });
    } else if (event.type === 'lost') {
      this.journal.write({ type: 'ended', hold: current.id, at: sharedMs(), how: event.loss });
    }
  }

  private noteFailure(what: string, error: unknown): void {
    const code = isLockstepError(error) ? error.code : '';
    if (EXPECTED.has(code)) this.journal.write({ type: 'failed', what, code });
    else this.journal.write({ type: 'odd', what, text: describeThrown(error) });
  }

  private say(doing: WorkerState['doing'], key: string): void {
    this.tell({ doing, key, since: sharedMs(), grants: this.holds });
  }
}
