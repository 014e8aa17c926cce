import { Incidents, MemoryRetryScheduler } from '@lockstep/core';
import { eventually } from '@lockstep/testing';
import { expect, it } from 'vitest';
import { DeliveryWakeUp } from '../../src/notifications/delivery/delivery-wake-up.js';

it('A wake-up for an endpoint comes, whatever later ones it has', async () => {
  const incidents = new Incidents();
  const scheduler = new MemoryRetryScheduler(incidents);
  const sleeper = new DeliveryWakeUp(incidents, scheduler);
  let wakeUps = 0;
  const subscription = await sleeper.listen(() => {
    wakeUps += 1;
  });
  // A process without a worker.
  const other = new DeliveryWakeUp(incidents, scheduler);
  other.wake('shop');
  other.at('shop', Date.now() + 60_000);
  await eventually(() => expect(wakeUps).toBe(1), { timeoutMs: 3_000 });
  other.at('shop', Date.now() + 50);
  other.at('shop', Date.now() + 120_000);
  await eventually(() => expect(wakeUps).toBe(2), { timeoutMs: 3_000 });
  await subscription.close();
  await scheduler.close();
});
