import 'reflect-metadata';
import { bullmqRetryScheduler, bullmqTransport } from '@lockstep/bullmq';
import { describeRetrySchedulerContract } from '@lockstep/core/contract';
import { describeMessageTransportContract } from '@lockstep/outbox/contract';
import { useBackends } from './support/backends.js';
import { make } from './support/bullmq-ends.js';

for (const backend of useBackends()) {
  describeMessageTransportContract({
    name: `bullmq on ${backend.name}`,
    open: async () => {
      const options = { ...backend.options(), lockDuration: '1s' } as const;
      const { port: producer } = await make(bullmqTransport(options));
      const { port: consumer } = await make(bullmqTransport(options));
      return {
        producer,
        consumer,
        dispose: async () => {
          await Promise.all([producer.close(), consumer.close()]);
        },
      };
    },
  });

  describeRetrySchedulerContract({
    name: `bullmq on ${backend.name}`,
    open: async () => {
      const options = { ...backend.options(), lockDuration: '1s' } as const;
      const { port: owner } = await make(bullmqRetryScheduler(options));
      const { port: waker } = await make(bullmqRetryScheduler(options));
      return {
        owner,
        waker,
        dispose: async () => {
          await Promise.all([owner.close(), waker.close()]);
        },
      };
    },
  });
}
