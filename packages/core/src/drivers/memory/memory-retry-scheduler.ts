import type { RetryScheduler, WakeUp, WakeUpHandler, WakeUpSubscription } from '../../scheduling/retry-scheduler.js';
import type { Incidents } from '../../telemetry/incidents.js';

const ATTEMPTS = 8;
const FIRST_PAUSE_MS = 100;
const MAX_TIMER_MS = 2_147_483_647;

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
  private readonly handlers = new Map<string, WakeUpHandler>();
  private readonly running = new Set<Promise<void>>();
  private readonly closing = new AbortController();

  constructor(private readonly incidents: Incidents) {}

  async schedule(wakeUp: WakeUp): Promise<void> {
    this.arm({ wakeUp, attempt: 1, timer: undefined });
  }

  async cancel(queue: string, id: string): Promise<void> {
    this.disarm(alarmKey(queue, id));
  }

  async handle(queue: string, handler: WakeUpHandler): Promise<WakeUpSubscription> {
    this.handlers.set(queue, handler);
    for (const alarm of this.alarms.values()) if (alarm.wakeUp.queue === queue) this.arm(alarm);
    return {
      close: async () => {
        this.handlers.delete(queue);
        await Promise.all(this.running);
      },
    };
  }

  async close(): Promise<void> {
    this.closing.abort();
    for (const key of [...this.alarms.keys()]) this.disarm(key);
    await Promise.all(this.running);
  }

  private arm(alarm: Alarm): void {
    const key = alarmKey(alarm.wakeUp.queue, alarm.wakeUp.id);
    this.disarm(key);
    if (this.closing.signal.aborted) return;
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
    const handler = this.handlers.get(alarm.wakeUp.queue);
    if (!handler) return;
    this.alarms.delete(key);
    const run = this.deliver(handler, alarm).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  private async deliver(handler: WakeUpHandler, { wakeUp, attempt }: Alarm): Promise<void> {
    try {
      await handler(wakeUp.id, this.closing.signal);
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

function alarmKey(queue: string, id: string): string {
  return `${queue.length}:${queue}${id}`;
}
