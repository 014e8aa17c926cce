import 'reflect-metadata';
import { type BullmqRetrySchedulerOptions, bullmqRetryScheduler } from '@lockstep/bullmq';
import { eventually } from '@lockstep/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { useBackends } from './support/backends.js';
import { make } from './support/bullmq-ends.js';

describe.each(useBackends())('wake-ups on $name', (backend) => {
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  const open = async (more: Partial<BullmqRetrySchedulerOptions> = {}) => {
    const options = { ...backend.options(), ...more } as BullmqRetrySchedulerOptions;
    const made = await make(bullmqRetryScheduler(options));
    ends.push(() => made.port.close());
    return made;
  };

  it('one that fails for good is dropped and reported, and can be scheduled anew', async () => {
    const { port, incidents } = await open({ attempts: 2 });
    const queue = 'rows.failing';
    let calls = 0;
    await port.handle(queue, async () => {
      calls += 1;
      throw new Error('never');
    });
    await port.schedule({ queue, id: 'row-1', dueAt: 0 });
    await eventually(() => expect(incidents.map(({ code }) => code)).toContain('WAKE_UP_DROPPED'));
    expect(calls).toBe(2);
    await port.schedule({ queue, id: 'row-1', dueAt: 0 });
    await eventually(() => expect(calls).toBeGreaterThan(2));
  });

  it('one that is scheduled while its handler runs follows it, and never beside it', async () => {
    const { port } = await open();
    const queue = 'rows.again';
    let running = 0;
    let calls = 0;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    await port.handle(queue, async () => {
      running += 1;
      calls += 1;
      expect(running).toBe(1);
      await released;
      running -= 1;
    });
    await port.schedule({ queue, id: 'row-1', dueAt: 0 });
    await eventually(() => expect(calls).toBe(1));
    for (let n = 0; n < 3; n += 1) await port.schedule({ queue, id: 'row-1', dueAt: 0 });
    release();
    await eventually(() => expect(calls).toBe(2));
  });

  it('one whose process is told to stop and hangs is given to another', async () => {
    const first = await open();
    const queue = 'rows.hanging';
    let begun = 0;
    const subscription = await first.port.handle(queue, () => {
      begun += 1;
      return new Promise(() => undefined);
    });
    await first.port.schedule({ queue, id: 'row-1', dueAt: 0 });
    await eventually(() => expect(begun).toBe(1));
    await subscription.close(AbortSignal.timeout(20));
    const second = await open();
    const rung: string[] = [];
    await second.port.handle(queue, async (id) => {
      rung.push(id);
    });
    await eventually(() => expect(rung).toEqual(['row-1']));
  });
});
