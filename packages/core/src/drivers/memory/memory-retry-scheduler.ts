import { AsyncResource } from 'node:async_hooks';
import type { RetryScheduler, WakeUp, WakeUpHandler, WakeUpSubscription } from '../../scheduling/retry-scheduler.js';
import type { Incidents } from '../../telemetry/incidents.js';

const ATTEMPTS = 8;
const FIRST_PAUSE_MS = 100;
const MAX_TIMER_MS = 2_147_483_647;

/** One subscription: its handler, what runs, and the end of its patience. */
interface Handling {
  readonly queue: string;
  readonly handler: WakeUpHandler;
  readonly running: Set<Promise<void>>;
  readonly giveUp: AbortController;
}

interface Alarm {
  readonly wakeUp: WakeUp;
  readonly attempt: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * {@link RetryScheduler} on the timers of this process: right where one process both schedules and handles. What is
 * scheduled is gone with the process; the sweep of the rows' owner makes up for it.
 */
export class MemoryRetryScheduler implements RetryScheduler {
  private readonly alarms = new Map<string, Alarm>();
  private readonly handlings = new Set<Handling>();
  private isClosed = false;

  constructor(private readonly incidents: Incidents) {}

  async schedule(wakeUp: WakeUp): Promise<void> {
    this.arm({ wakeUp, attempt: 1, timer: undefined });
  }

  async cancel(queue: string, id: string): Promise<void> {
    this.disarm(alarmKey(queue, id));
  }

  async handle(queue: string, handler: WakeUpHandler): Promise<WakeUpSubscription> {
    // A timer runs in the context of whoever set it: another user's request, or a transaction that has ended by then.
    const bound: WakeUpHandler = AsyncResource.bind(async (id: string, signal: AbortSignal) => handler(id, signal));
    const handling: Handling = { queue, handler: bound, running: new Set(), giveUp: new AbortController() };
    this.handlings.add(handling);
    // A copy: arming moves an alarm to the end of the map, where the iteration would meet it again.
    for (const alarm of [...this.alarms.values()]) if (alarm.wakeUp.queue === queue) this.arm(alarm);
    return {
      close: async (signal) => {
        this.handlings.delete(handling);
        await finish(handling, signal);
      },
    };
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const key of [...this.alarms.keys()]) this.disarm(key);
    const subscriptions = [...this.handlings];
    this.handlings.clear();
    await Promise.all(subscriptions.map((handling) => finish(handling, AbortSignal.abort())));
  }

  private arm(alarm: Alarm): void {
    const key = alarmKey(alarm.wakeUp.queue, alarm.wakeUp.id);
    this.disarm(key);
    if (this.isClosed) return;
    const pauseMs = Math.min(Math.max(alarm.wakeUp.dueAt - Date.now(), 0), MAX_TIMER_MS);
    alarm.timer = setTimeout(() => this.ring(key, alarm), pauseMs).unref();
    this.alarms.set(key, alarm);
  }

  private disarm(key: string): void {
    clearTimeout(this.alarms.get(key)?.timer);
    this.alarms.delete(key);
  }

  private ring(key: string, alarm: Alarm): void {
    if (Date.now() < alarm.wakeUp.dueAt) {
      this.arm(alarm);
      return;
    }
    const handling = [...this.handlings].find(({ queue }) => queue === alarm.wakeUp.queue);
    if (!handling) return;
    this.alarms.delete(key);
    const run = this.deliver(handling, alarm).finally(() => handling.running.delete(run));
    handling.running.add(run);
  }

  private async deliver({ handler, giveUp }: Handling, { wakeUp, attempt }: Alarm): Promise<void> {
    try {
      await handler(wakeUp.id, giveUp.signal);
    } catch (cause) {
      if (attempt >= ATTEMPTS) {
        this.incidents.report({
          code: 'WAKE_UP_DROPPED',
          source: 'core.retry-scheduler',
          message: `the handler of ${wakeUp.queue} failed ${attempt} times`,
          cause,
        });
        return;
      }
      if (this.alarms.has(alarmKey(wakeUp.queue, wakeUp.id))) return;
      const dueAt = Date.now() + FIRST_PAUSE_MS * 2 ** (attempt - 1);
      this.arm({ wakeUp: { ...wakeUp, dueAt }, attempt: attempt + 1, timer: undefined });
    }
  }
}

async function finish({ running, giveUp }: Handling, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) giveUp.abort();
  else signal?.addEventListener('abort', () => giveUp.abort(), { once: true });
  const givenUp = new Promise<void>((resolve) => {
    if (giveUp.signal.aborted) resolve();
    else giveUp.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([Promise.all(running), givenUp]);
}

function alarmKey(queue: string, id: string): string {
  return `${queue.length}:${queue}${id}`;
}
