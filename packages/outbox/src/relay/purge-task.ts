import { type Incidents, PeriodicTask } from '@lockstep/core';
import type { ResolvedOutboxOptions } from '../outbox.options.js';
import type { OutboxStore } from '../outbox-store.js';

const PURGE_EVERY_MS = 600_000;
/** As many as a call of the store takes away at most: then there may be more. */
const FULL_PURGE = 1_000;

type Retention = Pick<ResolvedOutboxOptions, 'deadLetterRetentionMs' | 'sequenceRetentionMs'>;

/** Takes away dead letters that nobody replayed, which is reported, and counters of keys that are no longer used. */
export function purgeTasks(retention: Retention, store: OutboxStore, incidents: Incidents): PeriodicTask[] {
  const task = (name: string, purge: () => Promise<number>): PeriodicTask =>
    new PeriodicTask({
      name,
      everyMs: PURGE_EVERY_MS,
      run: async () => ((await purge()) >= FULL_PURGE ? 'again' : undefined),
      onError: (cause) =>
        incidents.report({
          code: 'OUTBOX_PASS_FAILED',
          source: 'outbox.purge',
          message: `${name}: a pass failed`,
          cause,
        }),
    });
  return [
    task('outbox purge', async () => {
      const messages = await store.operations.purge(retention.deadLetterRetentionMs);
      if (messages > 0) reportPurged(incidents, messages);
      return messages;
    }),
    task('outbox sequences', () => store.operations.purgeSequences(retention.sequenceRetentionMs)),
  ];
}

function reportPurged(incidents: Incidents, messages: number): void {
  incidents.report({
    code: 'OUTBOX_DEAD_LETTERS_PURGED',
    source: 'outbox.purge',
    message: 'dead letters that nobody replayed within deadLetterRetention are gone',
    fields: { messages },
  });
}
