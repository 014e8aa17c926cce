// Loaded by `node --import` before the product code of a child process that spawnNode() started.
import { subscribe } from 'node:diagnostics_channel';
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import {
  CHECKPOINT_CHANNEL,
  type CheckpointHit,
  CRASH_PLAN,
  type CrashPlan,
  type CrashReport,
  LIFELINE_DESCRIPTOR,
  REPORT_DESCRIPTOR,
} from './crash-plan.js';

const STOP_SETTLE_MS = 10;
const text = process.env[CRASH_PLAN];
// The processes that the product code starts inherit the environment but not the report descriptor.
delete process.env[CRASH_PLAN];
if (text !== undefined && isMainThread) install(JSON.parse(text) as CrashPlan);

function install(plan: CrashPlan): void {
  const hits = new Map<string, number>();
  subscribe(CHECKPOINT_CHANNEL, (message) => {
    const { name } = message as { name: string };
    const hit = (hits.get(name) ?? 0) + 1;
    hits.set(name, hit);
    report({ type: 'reached', name, hit });
    if (isAt(plan.killAt, name, hit)) die();
    if (isAt(plan.pauseAt, name, hit)) pause();
  });
  watchUnhandledRejections();
  dieWithParent();
}

function isAt(planned: CheckpointHit | undefined, name: string, hit: number): boolean {
  return planned !== undefined && planned.name === name && planned.hit === hit;
}

/** Synchronous, because the next thing that happens may be our end. */
function report(message: CrashReport): void {
  try {
    writeSync(REPORT_DESCRIPTOR, `${JSON.stringify(message)}\n`);
  } catch {
    die(); // nobody listens any more: the test run is gone
  }
}

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  // The signal may take a moment to arrive; not one more instruction of the product code may run meanwhile.
  for (;;) block(1000);
}

/** A test run that was itself killed must not leave its children at work on shared servers. */
function dieWithParent(): void {
  // Not by 'disconnect' of the IPC channel: listening to that would keep a child alive that has nothing left to do.
  const lifeline = new Socket({ fd: LIFELINE_DESCRIPTOR, readable: true, writable: false });
  lifeline.on('end', die).on('error', die).resume().unref();
}

function pause(): void {
  process.kill(process.pid, 'SIGSTOP');
  block(STOP_SETTLE_MS);
}

function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Sees every unhandled rejection without being a listener: a listener would turn off Node's default, which is to die. */
function watchUnhandledRejections(): void {
  const emit = process.emit.bind(process) as (event: string | symbol, ...args: unknown[]) => boolean;
  const watching = (event: string | symbol, ...args: unknown[]): boolean => {
    if (event === 'unhandledRejection') report({ type: 'unhandledRejection', reason: reasonText(args[0]) });
    return emit(event, ...args);
  };
  process.emit = watching as typeof process.emit;
}

function reasonText(reason: unknown): string {
  return reason instanceof Error ? (reason.stack ?? reason.message) : String(reason);
}
