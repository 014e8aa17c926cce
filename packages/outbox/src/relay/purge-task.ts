import { type Incidents, PeriodicTask } from '@lockstep/core';
import type { ResolvedOutboxOptions } from '../outbox.options.js';
import type { OutboxStore } from '../outbox-store.js';

const PURGE_EVERY_MS = 600_000;
/** As many as a call of the store takes away at most: then there may be more. */
const FULL_PURGE = 1_000;

/** A consumer is told where an idle key goes on long before it forgets its place, after twice the retention. */
const SWEEPS_IN_RETENTION = 4;

type Retention = Pick<ResolvedOutboxOptions, 'deadLetterRetentionMs' | 'sequenceRetentionMs'>;

/** Takes away dead letters that nobody replayed, which is reported. */
export function deadLetterPurge(retention: Retention, store: OutboxStore, incidents: Incidents): PeriodicTask {
  return purgeTask('outbox purge', PURGE_EVERY_MS, incidents, async () => {
    const messages = await store.operations.purge(retention.deadLetterRetentionMs);
    if (messages > 0) reportPurged(incidents, messages);
    return messages;
  });
}

/**
 * Takes away counters of keys that are no longer used. It reads all that is in use, so one process does it.
 *
 * @param isMine whether this one does it now
 */
export function sequencePurge(
  retention: Retention,
  store: OutboxStore,
  incidents: Incidents,
  isMine: () => boolean,
): PeriodicTask {
  const { sequenceRetentionMs } = retention;
  const everyMs = Math.min(PURGE_EVERY_MS, sequenceRetentionMs / SWEEPS_IN_RETENTION);
  return purgeTask('outbox sequences', everyMs, incidents, async () =>
    isMine() ? store.operations.purgeSequences(sequenceRetentionMs) : 0,
  );
}

function purgeTask(name: string, everyMs: number, incidents: Incidents, purge: () => Promise<number>): PeriodicTask {
  return new PeriodicTask({
    name,
    everyMs,
    run: async () => ((await purge()) >= FULL_PURGE ? 'again' : undefined),
    onError: (cause) =>
      incidents.report({
        code: 'OUTBOX_PASS_FAILED',
        source: 'outbox.purge',
        message: `${name}: a pass failed`,
        cause,
      }),
  });
}

function reportPurged(incidents: Incidents, messages: number): void {
  incidents.report({
    code: 'OUTBOX_DEAD_LETTERS_PURGED',
    source: 'outbox.purge',
    message: 'dead letters that nobody replayed within deadLetterRetention are gone',
    fields: { messages },
  });
}
