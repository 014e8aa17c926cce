import type { ChildProcess, Serializable } from 'node:child_process';
import type { Readable } from 'node:stream';
import { type CheckpointHit, type CrashReport, checkpointHit } from './crash-plan.js';
import { collectLines } from './line-log.js';

export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The child ended, or the time was over, before what was waited for; the message quotes its last lines. */
export class ChildWaitError extends Error {
  override readonly name = 'ChildWaitError';
}

const DEFAULT_TIMEOUT_MS = 10_000;
const QUOTED_LINES = 20;

/** A child process of a crash test: running ⇄ stopped (SIGSTOP), running | stopped → exited. */
export class ChildHandle {
  /** Lines of standard output and standard error, in the order of arrival. */
  readonly lines: readonly string[];
  /** Messages that the child sent by `process.send()`. */
  readonly messages: readonly unknown[];
  /** Reason of every unhandled rejection in the child, whether or not it had a handler for the event. */
  readonly unhandledRejections: readonly string[];
  /** Settles when the child is gone and its output is read to the end. Never rejects. */
  readonly exited: Promise<ChildExit>;

  private readonly hitsOf = new Map<string, number>();
  private readonly waiters = new Set<() => void>();
  private exit: ChildExit | undefined;

  constructor(private readonly child: ChildProcess) {
    const lines: string[] = [];
    const messages: unknown[] = [];
    const unhandledRejections: string[] = [];
    this.lines = lines;
    this.messages = messages;
    this.unhandledRejections = unhandledRejections;
    collectLines(
      [child.stdout, child.stderr].filter((stream) => stream !== null),
      lines,
      () => this.wake(),
    );
    const reports: string[] = [];
    collectLines([child.stdio[4] as Readable], reports, () => {
      const report = JSON.parse(reports.pop() ?? '{}') as CrashReport;
      if (report.type === 'unhandledRejection') unhandledRejections.push(report.reason);
      else this.hitsOf.set(report.name, report.hit);
      this.wake();
    });
    child.on('message', (message) => {
      messages.push(message);
      this.wake();
    });
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => lines.push(`cannot start: ${error.message}`));
      child.once('close', (code, signal) => {
        this.exit = { code, signal };
        this.wake();
        resolve(this.exit);
      });
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** How often the child has passed the checkpoint so far. */
  hits(name: string): number {
    return this.hitsOf.get(name) ?? 0;
  }

  /**
   * Resolves once the checkpoint was passed (the first time, or the given one), also when that was before the call.
   * @throws ChildWaitError
   */
  async reached(checkpoint: string | CheckpointHit, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<void> {
    const { name, hit } = checkpointHit(checkpoint);
    await this.waitFor(`checkpoint ${name} (hit ${hit})`, timeoutMs, () => this.hits(name) >= hit || undefined);
  }

  /**
   * The first line that matches, also one that was written before the call.
   * @throws ChildWaitError
   */
  waitForLine(pattern: RegExp, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<string> {
    return this.waitFor(`a line like ${pattern}`, timeoutMs, () => this.lines.find((line) => pattern.test(line)));
  }

  /**
   * The first message that fits, also one that arrived before the call.
   * @throws ChildWaitError
   */
  async waitForMessage(fits: (message: unknown) => boolean, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<unknown> {
    const found = await this.waitFor('a message', timeoutMs, () => {
      const index = this.messages.findIndex(fits);
      return index < 0 ? undefined : { message: this.messages[index] };
    });
    return found.message;
  }

  /** Sends an IPC message; the child receives it by `process.on('message')`. */
  send(message: Serializable): void {
    this.child.send(message);
  }

  /** Freezes the whole process: no timer, no renewal, no answer, and sockets stay open. */
  sigstop(): void {
    this.child.kill('SIGSTOP');
  }

  sigcont(): void {
    this.child.kill('SIGCONT');
  }

  /** Asks for an orderly end, as an orchestrator does first. */
  sigterm(): void {
    this.child.kill('SIGTERM');
  }

  /** Ends the process at once, also a stopped one. */
  sigkill(): Promise<ChildExit> {
    this.child.kill('SIGKILL');
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sigkill();
  }

  private waitFor<T>(what: string, timeoutMs: number, look: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.waiters.delete(check);
      };
      const check = (): void => {
        const found = look();
        if (found === undefined && this.exit === undefined) return;
        finish();
        if (found === undefined) reject(this.waitError(what, `ended (${this.exit?.signal ?? this.exit?.code})`));
        else resolve(found);
      };
      const timer = setTimeout(() => {
        finish();
        reject(this.waitError(what, `did not show it within ${timeoutMs} ms`));
      }, timeoutMs);
      this.waiters.add(check);
      check();
    });
  }

  private waitError(what: string, how: string): ChildWaitError {
    const quoted = this.lines.slice(-QUOTED_LINES).join('\n');
    return new ChildWaitError(`Waited for ${what}, but process ${this.pid} ${how}. Its last lines:\n${quoted}`);
  }

  private wake(): void {
    for (const waiter of [...this.waiters]) waiter();
  }
}
