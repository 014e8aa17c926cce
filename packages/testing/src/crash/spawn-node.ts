import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ChildHandle } from './child-handle.js';
import { type CheckpointHit, CRASH_PLAN, type CrashPlan, checkpointHit } from './crash-plan.js';

export interface SpawnNodeOptions {
  readonly args?: readonly string[];
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Options of Node itself, e.g. `['--expose-gc']`. */
  readonly nodeArgs?: readonly string[];
  /** @default the current folder */
  readonly cwd?: string;
  /** The child kills itself by SIGKILL at this checkpoint; a bare name means the first time. */
  readonly killAt?: string | CheckpointHit;
  /** The child stops itself by SIGSTOP at this checkpoint, until `sigcont()`. */
  readonly pauseAt?: string | CheckpointHit;
}

const preload = new URL('./preload.js', import.meta.url).href;
const children = new Set<ChildProcess>();

function killAll(): void {
  for (const child of children) child.kill('SIGKILL');
}

/**
 * Starts a Node script as a child process that can be killed or stopped exactly at a checkpoint: a message
 * `{ name, detail? }` on the diagnostics channel `lockstep:checkpoint`. Only the main thread's checkpoints count.
 * The child ends when this process does.
 */
export function spawnNode(entry: string | URL, options: SpawnNodeOptions = {}): ChildHandle {
  const { args = [], env = {}, nodeArgs = [], cwd = process.cwd(), killAt, pauseAt } = options;
  const plan: CrashPlan = {
    ...(killAt === undefined ? {} : { killAt: checkpointHit(killAt) }),
    ...(pauseAt === undefined ? {} : { pauseAt: checkpointHit(pauseAt) }),
  };
  const script = entry instanceof URL ? fileURLToPath(entry) : entry;
  const child = spawn(process.execPath, [...nodeArgs, '--import', preload, script, ...args], {
    cwd,
    env: { ...process.env, ...env, [CRASH_PLAN]: JSON.stringify(plan) },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc', 'pipe', 'pipe'],
  });
  if (children.size === 0) process.on('exit', killAll);
  children.add(child);
  const handle = new ChildHandle(child);
  void handle.exited.then(() => {
    children.delete(child);
    if (children.size === 0) process.off('exit', killAll);
  });
  return handle;
}
