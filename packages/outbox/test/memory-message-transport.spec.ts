import 'reflect-metadata';
import { Incidents } from '@lockstep/core';
import { MemoryMessageTransport } from '@lockstep/outbox';
import { describeMessageTransportContract } from '@lockstep/outbox/contract';
import { Logger } from '@nestjs/common';
import { beforeAll } from 'vitest';

beforeAll(() => Logger.overrideLogger(false));

describeMessageTransportContract({
  name: 'memory',
  open: async () => {
    const transport = new MemoryMessageTransport(new Incidents());
    return { producer: transport, consumer: transport, dispose: () => transport.close() };
  },
});
