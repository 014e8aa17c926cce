import { createRequire } from 'node:module';
import type { FleetPlan } from '../fleet/fleet.js';
import type { StoreName } from '../fleet/store-server.js';

/** Travels to a worker as JSON in the environment, as {@link WORKER_SETTING}. */
export interface WorkerSetting {
  readonly store: StoreName;
  /** Of the store, by way of the worker's own fault proxy. */
  readonly storeUrl: string;
  readonly namespace: string;
  readonly commandTimeoutMs: number;
  /** The control: what is written to a session that has ended makes it anew, as stores of whole sessions do. */
  readonly resurrects: boolean;
}

export const WORKER_SETTING = 'SESSION_CHAOS_WORKER';

/** Around what a store has said, before anybody is told. */
export const FATAL_CHECKPOINTS = ['session.created', 'session.saved', 'session.replaced', 'session.removed'] as const;

/** Built, also for the specs that load this folder as it is: a child process is plain Node. */
const script = createRequire(import.meta.url).resolve('#session-worker');

export function fleetPlan({
  serverUrl,
  ...common
}: Omit<WorkerSetting, 'storeUrl'> & { readonly serverUrl: string }): FleetPlan {
  return {
    serverUrl,
    script,
    environment: (storeUrl) => {
      const setting: WorkerSetting = { ...common, storeUrl };
      return { [WORKER_SETTING]: JSON.stringify(setting) };
    },
  };
}
