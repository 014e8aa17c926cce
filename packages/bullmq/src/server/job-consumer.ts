import { setTimeout as sleep } from 'node:timers/promises';
import { type Incidents, untilAborted } from '@lockstep/core';
import { WaitingError, type WorkerOptions } from 'bullmq';
import { NEVER } from './job-options.js';
import type { JobServer, QueuedJob } from './job-server.js';
import { PatientWorker } from './patient-worker.js';

/** Ends a run of a job so that it runs again after a pause, and counts the attempt. */
export class RunAgain extends Error {
  override readonly name = 'RunAgain';

  constructor(readonly delayMs: number) {
    // Stored with the job: an application's own message may be long or confidential.
    super('run again');
  }
}

export interface JobConsumerInit {
  readonly server: JobServer;
  readonly queueName: string;
  readonly incidents: Incidents;
  readonly concurrency: number;
  readonly lockDurationMs: number;
  /** Pause after a run that failed by itself, not by {@link RunAgain}. */
  readonly pauseAfterErrorMs: number;
  process(job: QueuedJob, token: string): Promise<void>;
}

/**
 * Takes jobs of one queue, on any server, and survives the server.
 *
 * ```
 * starting --connected--> running --close--> closing --jobs have ended, or given up--> closed
 *                                            closing --server away, nothing runs--> closed
 * starting --refused--> starting (a new worker, after a pause)
 * ```
 */
export class JobConsumer {
  private worker: PatientWorker;
  private restart: NodeJS.Timeout | undefined;
  private closed: Promise<void> | undefined;
  private running = 0;

  constructor(private readonly init: JobConsumerInit) {
    this.worker = this.start();
  }

  /**
   * Takes no further job and waits for those that run, at most until two `commandTimeoutMs` after `giveUp` aborts; then
   * leaves them to the expiry of their locks. Where none runs and the server is away, waits one `commandTimeoutMs` only.
   */
  close(giveUp: AbortSignal, commandTimeoutMs: number): Promise<void> {
    this.closed ??= this.stop(giveUp, commandTimeoutMs);
    return this.closed;
  }

  private start(): PatientWorker {
    const { init } = this;
    const worker = new PatientWorker(
      init.queueName,
      (job, token) => this.process(job, token ?? ''),
      workerOptions(init),
      init.server,
    );
    worker.on('error', (cause) => this.report('WORKER_FAILED', 'a worker met an error and goes on', cause));
    worker.on('failed', (job, cause) => {
      if (!(cause instanceof RunAgain))
        this.report('JOB_FAILED', `job ${job?.id} failed by itself and runs again`, cause);
    });
    worker.on('stalled', (id) =>
      this.report('JOB_STALLED', `job ${id} was silent for too long and goes to another worker`),
    );
    worker.waitUntilReady().catch((cause: unknown) => this.startAgain(worker, cause));
    return worker;
  }

  /** A job that was on its way while the worker began to close goes back untouched. */
  private async process(job: QueuedJob, token: string): Promise<void> {
    if (this.closed) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    this.running += 1;
    try {
      await this.init.process(job, token);
    } finally {
      this.running -= 1;
    }
  }

  private startAgain(refused: PatientWorker, cause: unknown): void {
    if (this.closed) return;
    this.report('WORKER_NOT_STARTED', 'the server refused a worker; another try follows', cause);
    this.restart = setTimeout(() => {
      this.worker = this.start();
    }, 1_000);
    refused
      .close(true)
      .catch((error: unknown) => this.report('WORKER_FAILED', 'a refused worker did not close', error));
  }

  private async stop(giveUp: AbortSignal, commandTimeoutMs: number): Promise<void> {
    clearTimeout(this.restart);
    const ended = this.worker.close().then(
      () => true,
      (cause: unknown) => {
        this.report('WORKER_FAILED', 'a worker did not close cleanly', cause);
        return true;
      },
    );
    while (!giveUp.aborted) {
      const endedOrLookAgain = Promise.race([ended, sleep(commandTimeoutMs, false, { ref: false })]);
      if (await untilAborted<boolean>(endedOrLookAgain, giveUp, () => false)) return;
      // BullMQ's worker waits for the answer to its last command, which a server that is away never gives.
      if (this.running === 0 && !this.init.server.isReady) return;
    }
    // After giving up, what was not handled still has to be put back: one command, if the server answers at all.
    if (await untilAborted<boolean>(ended, AbortSignal.timeout(2 * commandTimeoutMs), () => false)) return;
    this.report('WORKER_LEFT_BEHIND', 'a worker did not end in time; its jobs come back when their locks expire');
  }

  private report(code: string, message: string, cause?: unknown): void {
    this.init.incidents.report({ code, source: 'bullmq.worker', message: `${this.init.queueName}: ${message}`, cause });
  }
}

function workerOptions(init: JobConsumerInit): WorkerOptions {
  const { prefix } = init.server;
  return {
    connection: {},
    ...(prefix === undefined ? {} : { prefix }),
    concurrency: init.concurrency,
    lockDuration: init.lockDurationMs,
    stalledInterval: Math.max(Math.round(init.lockDurationMs / 2), 50),
    // A job that crashes its process again and again must reach its consumer, who ends it; BullMQ would just drop it.
    maxStalledCount: NEVER,
    runRetryDelay: 1_000,
    settings: {
      backoffStrategy: (_attempts, _type, error) =>
        error instanceof RunAgain ? error.delayMs : init.pauseAfterErrorMs,
    },
  };
}
