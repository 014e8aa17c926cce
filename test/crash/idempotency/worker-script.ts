import { createRequire } from 'node:module';

/** Built, also for the specs that load this folder as it is: a child process is plain Node. */
export const workerScript = createRequire(import.meta.url).resolve('#idempotency-worker');
