import type { FleetPlan } from '../fleet/fleet.js';
import { workerScript } from './worker-script.js';
import { type FleetSetting, WORKER_SETTING, type WorkerSetting } from './worker-setting.js';

/** Where a worker may be told to die: before, in and after the handler, between its steps, and around the store's word. */
export const FATAL_CHECKPOINTS = [
  'idempotency.claimed',
  'handler',
  'charged',
  'idempotency.step',
  'completer',
  'idempotency.executed',
  'idempotency.settled',
] as const;

export function fleetPlan({ serverUrl, ...common }: FleetSetting): FleetPlan {
  return {
    serverUrl,
    script: workerScript,
    environment: (storeUrl) => {
      const setting: WorkerSetting = { ...common, storeUrl };
      return { [WORKER_SETTING]: JSON.stringify(setting) };
    },
  };
}
