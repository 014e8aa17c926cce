import 'reflect-metadata';
import { natsTransport } from '@lockstep/nats';
import { describeMessageTransportContract } from '@lockstep/outbox/contract';
import { useNats } from '@lockstep/testing/vitest';
import { make } from './support/nats-ends.js';

const nats = useNats();

describeMessageTransportContract({
  name: 'nats',
  open: async () => {
    const options = { servers: nats.url, namespace: nats.namespace, ackWait: '1s' } as const;
    const { port: producer } = await make(natsTransport(options));
    const { port: consumer } = await make(natsTransport(options));
    return {
      producer,
      consumer,
      dispose: async () => {
        await Promise.all([producer.close(), consumer.close()]);
      },
    };
  },
});
