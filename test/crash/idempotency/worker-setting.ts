import type { StoreName } from '../fleet/store-server.js';

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

/** What is the same for all workers of a fleet. */
export type FleetSetting = Omit<WorkerSetting, 'storeUrl'> & { readonly serverUrl: string };
