/** The n-th time that the product code passes a named checkpoint. */
export interface CheckpointHit {
  readonly name: string;
  /** Counted from 1. */
  readonly hit: number;
}

/** What the preload of a child does at which checkpoint; travels as JSON in {@link CRASH_PLAN}. */
export interface CrashPlan {
  readonly killAt?: CheckpointHit;
  readonly pauseAt?: CheckpointHit;
}

/** What the preload writes, one JSON object a line, to the report descriptor. */
export type CrashReport =
  | { readonly type: 'reached'; readonly name: string; readonly hit: number }
  | { readonly type: 'unhandledRejection'; readonly reason: string };

/** Name of the diagnostics channel on which product code publishes `{ name, detail? }`. */
export const CHECKPOINT_CHANNEL = 'lockstep:checkpoint';
export const CRASH_PLAN = 'LOCKSTEP_CRASH_AT';
/** Descriptor 3 is Node's IPC channel. */
export const REPORT_DESCRIPTOR = 4;
/** Nothing is written to it: it ends when the process that started the child ends. */
export const LIFELINE_DESCRIPTOR = 5;

/** `'claim'` is the first time that `claim` is passed. */
export function checkpointHit(checkpoint: string | CheckpointHit): CheckpointHit {
  return typeof checkpoint === 'string' ? { name: checkpoint, hit: 1 } : checkpoint;
}
