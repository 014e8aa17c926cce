import { Incidents } from '@lockstep/core';
import { MemoryMessageTransport, type MessageTransport, type OutboxModuleExtras } from '@lockstep/outbox';

/** A broker that outlives the applications that use it. */
export class SharedTransport {
  readonly broker = new MemoryMessageTransport(new Incidents());

  get provider(): NonNullable<OutboxModuleExtras['transport']> {
    return {
      useFactory: (): MessageTransport => ({
        publish: (route, messages) => this.broker.publish(route, messages),
        consume: (route, handler, options) => this.broker.consume(route, handler, options),
        close: async () => undefined,
      }),
    };
  }
}
