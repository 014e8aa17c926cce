import { Injectable, Logger } from '@nestjs/common';
import { messageWithReason } from '../errors/describe-thrown.js';
import type { ErrorField } from '../errors/lockstep-error.js';
import { monotonicMs } from '../time.js';
import { Listeners } from './listeners.js';
import { count } from './metrics.js';

/** A failure that the caller is not told of, because the call itself is not touched by it. */
export interface Incident {
  /** UPPER_SNAKE, bounded in number: it is a metric attribute. */
  readonly code: string;
  /** Where: `lock.heartbeat`, `outbox.relay`. */
  readonly source: string;
  readonly message: string;
  readonly cause?: unknown;
  readonly fields?: Readonly<Record<string, ErrorField>>;
}

const LOG_EVERY_MS = 1_000;

/**
 * The place for everything that is survived: each incident is an event for subscribers, one on the counter
 * `lockstep.incidents`, and a log line. An outage raises thousands of the same kind, so a code is logged at most once
 * a second, with the number of those left out.
 */
@Injectable()
export class Incidents {
  private readonly logger = new Logger('Lockstep');
  private readonly listeners = new Listeners<Incident>((cause) =>
    this.logger.error('A listener for incidents failed', cause),
  );
  private readonly logged = new Map<string, { atMs: number; leftOut: number }>();

  report(incident: Incident): void {
    count('lockstep.incidents', { code: incident.code, source: incident.source });
    this.log(incident);
    this.listeners.emit(incident);
  }

  /** Calls `listener` for every incident from now on. Returns the function that ends it. */
  subscribe(listener: (incident: Incident) => void): () => void {
    return this.listeners.subscribe(listener);
  }

  private log({ code, source, message, cause, fields }: Incident): void {
    const slot = `${code} ${source}`;
    const last = this.logged.get(slot);
    const nowMs = monotonicMs();
    if (last && nowMs - last.atMs < LOG_EVERY_MS) {
      last.leftOut += 1;
      return;
    }
    this.logged.set(slot, { atMs: nowMs, leftOut: 0 });
    const more = last?.leftOut ? ` (and ${last.leftOut} more)` : '';
    const reason = cause === undefined ? '' : `: ${messageWithReason(cause)}`;
    const facts = fields ? ` ${JSON.stringify(fields)}` : '';
    this.logger.warn(`${code} in ${source}: ${message}${reason}${facts}${more}`);
  }
}
