import { Incidents } from '@lockstep/core';
import type { OutboxStore } from '@lockstep/outbox';
import { eventually } from '@lockstep/testing';
import { describe, expect, it } from 'vitest';
import { sequencePurge } from '../dist/relay/purge-task.js';

describe('The sweep of idle keys', () => {
  it('is done by the process that owns the first shard, when it gets it, and four times in the retention', async () => {
    const ages: number[] = [];
    const operations = { purgeSequences: async (ms: number) => ages.push(ms) };
    let isMine = false;
    let asked = 0;
    const task = sequencePurge(
      { sequenceRetentionMs: 400, deadLetterRetentionMs: 1 },
      { operations } as unknown as OutboxStore,
      new Incidents(),
      () => {
        asked += 1;
        return isMine;
      },
    );
    task.start();
    await eventually(() => expect(asked).toBeGreaterThan(1));
    expect(ages).toEqual([]);
    isMine = true;
    task.wake();
    await eventually(() => expect(ages.length).toBeGreaterThan(2));
    expect(new Set(ages)).toEqual(new Set([400]));
    await task.stop();
  });
});
