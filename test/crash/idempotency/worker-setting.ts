export type StoreName = 'redis' | 'postgres';

/** Travels to a worker as JSON in the environment, as {@link WORKER_SETTING}. */
export interface WorkerSetting {
  readonly store: StoreName;
  /** Of the store, by way of the worker's own fault proxy. */
  readonly storeUrl: string;
  readonly namespace: string;
  /** A database that no fault touches. */
  readonly bankUrl: string;
  readonly leaseMs: number;
  readonly commandTimeoutMs: number;
  /** The control: every begin is told that it has acquired the operation, whatever the store says. */
  readonly ignoresClaims: boolean;
}

export const WORKER_SETTING = 'IDEMPOTENCY_CHAOS_WORKER';
/** Message that asks a worker to shut down in an orderly way. */
export const STOP = 'stop';

/** What a worker says once it listens. */
export interface WorkerReady {
  readonly url: string;
}
