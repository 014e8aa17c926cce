import { Incidents, MemoryRetryScheduler } from '@lockstep/core';
import { describeRetrySchedulerContract } from '@lockstep/core/contract';

describeRetrySchedulerContract({
  name: 'memory',
  open: async () => {
    const scheduler = new MemoryRetryScheduler(new Incidents());
    return { owner: scheduler, waker: scheduler, dispose: () => scheduler.close() };
  },
});
