import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { signalTree } from './process-tree.js';
import { Watchdog } from './watchdog.js';

/** How to start one server in the foreground. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Holds the data and the log. */
  readonly folder: string;
  /** Whether the folder is ours to remove when this process ends without stopping the server. */
  readonly isFolderOurs: boolean;
  /** User and group to run as; this process's own when absent. */
  readonly userId: number | undefined;
  /** Name of the Docker container that `command` runs in the foreground, if it does. */
  readonly container: string | undefined;
}

const STOP_TIMEOUT_MS = 10_000;
const alive = new Set<ServerProcess>();

function endAll(): void {
  for (const server of alive) server.destroy();
}

/**
 * One run of one server: running ⇄ paused → ended, never back; a restart is a new object. Neither the child nor its
 * watchdog keeps the event loop of this process alive, and the child never outlives it.
 */
export class ServerProcess {
  private readonly ended: Promise<void>;
  private readonly child: ChildProcess;
  private readonly watchdog: Watchdog | undefined;
  private running = true;

  constructor(
    private readonly launch: Launch,
    onSpawnError: (error: Error) => void,
  ) {
    // A file, not a pipe: nobody has to drain it, and it can still be quoted when the server refuses to start.
    const log = openSync(join(launch.folder, 'server.log'), 'a');
    const user = launch.userId === undefined ? {} : { uid: launch.userId, gid: launch.userId };
    this.child = spawn(launch.command, [...launch.args], {
      cwd: '/',
      env: { ...process.env, ...launch.env },
      stdio: ['ignore', log, log],
      detached: true, // Ctrl-C must reach the application first; it may need its server to drain
      ...user,
    });
    closeSync(log);
    this.child.unref();
    this.child.once('error', onSpawnError);
    this.ended = new Promise((resolve) => {
      const end = (): void => {
        this.settle();
        resolve();
      };
      this.child.once('exit', end);
      this.child.once('error', end);
    });
    const pid = this.child.pid;
    this.watchdog = pid === undefined ? undefined : new Watchdog(pid, this.disposableFolder, launch.container);
    if (alive.size === 0) process.on('exit', endAll);
    alive.add(this);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.running;
  }

  /** Sends a signal to the server and its children, into its container if it has one. */
  signal(signal: NodeJS.Signals): void {
    if (!this.running || this.pid === 0) return;
    const { container } = this.launch;
    if (container === undefined) signalTree(this.pid, signal);
    else spawnSync('docker', ['kill', `--signal=${signal}`, container]);
  }

  /** Asks the server to end by `signal`, then insists. */
  async stop(signal: 'SIGTERM' | 'SIGINT'): Promise<void> {
    if (!this.running) return;
    this.signal('SIGCONT');
    // The server itself only: Postgres' children must be ended by their parent, in its order.
    if (this.launch.container === undefined) this.child.kill(signal);
    else this.signal(signal);
    const insist = setTimeout(() => this.signal('SIGKILL'), STOP_TIMEOUT_MS);
    await this.end();
    clearTimeout(insist);
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.end();
  }

  /** Kills and cleans up without waiting; for the exit hook, where nothing asynchronous runs any more. */
  destroy(): void {
    this.signal('SIGKILL');
    if (this.disposableFolder !== '') rmSync(this.disposableFolder, { recursive: true, force: true });
  }

  /** The end of the server's log, to explain a failed start. */
  logTail(lines = 15): string {
    return readFileSync(join(this.launch.folder, 'server.log'), 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** While somebody waits for the end, the child must keep the event loop alive, or the wait never ends. */
  private end(): Promise<void> {
    if (this.running) this.child.ref();
    return this.ended;
  }

  private get disposableFolder(): string {
    return this.launch.isFolderOurs ? this.launch.folder : '';
  }

  private settle(): void {
    this.running = false;
    this.watchdog?.dismiss();
    alive.delete(this);
    if (alive.size === 0) process.off('exit', endAll);
  }
}
