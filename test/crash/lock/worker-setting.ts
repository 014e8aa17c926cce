/** Travels to a worker as JSON in the environment, as {@link WORKER_SETTING}. */
export interface WorkerSetting {
  /** Unique in the round: changes begin with it. */
  readonly name: string;
  readonly seed: number;
  readonly namespace: string;
  /** The first is asked for most, so that a queue forms there. */
  readonly keys: readonly string[];
  readonly ttlMs: number;
  /** Of the server of the locks, by way of the worker's own fault proxy. */
  readonly lockUrl: string;
  readonly commandTimeoutMs: number;
  readonly resourceUrl: string;
  readonly databaseUrl: string;
  readonly journal: string;
}

/** What a worker says of itself at each step, by IPC, so that faults find whom they seek. */
export interface WorkerState {
  readonly doing: 'idle' | 'waiting' | 'holding' | 'thinking' | 'frozen';
  readonly key: string;
  readonly since: number;
  /** Grants so far. */
  readonly grants: number;
}

export const WORKER_SETTING = 'LOCK_CHAOS_WORKER';
/** Message that asks a worker to end its work, shut its applications down and exit. */
export const STOP = 'stop';
/** Message: stop by SIGSTOP under the first of the keys, after the next read and before its write; and: do not. */
export const FREEZE = 'freeze';
export const THAW = 'thaw';
