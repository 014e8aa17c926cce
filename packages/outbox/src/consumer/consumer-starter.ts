import { DrainService } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { AckSender } from '../ack/ack-sender.js';
import { MESSAGE_TRANSPORT, type MessageRoute, type MessageTransport } from '../message-transport.js';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OutboxLifecycle } from '../outbox-lifecycle.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { ConsumerServices } from './consumer-services.js';
import { MessageConsumer } from './message-consumer.js';
import type { MessageHandler } from './message-handler.js';

/**
 * Consumes for handlers, whether they are methods with `@OnMessage` or Lockstep's own: subscribes in the store, makes the
 * inbox, then subscribes at the transport; each as often as it takes. To be called at `onApplicationBootstrap`, because
 * what it begins must not be part of a request.
 */
@Injectable()
export class ConsumerStarter {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(MESSAGE_TRANSPORT) private readonly transport: MessageTransport,
    @Inject(ConsumerServices) private readonly services: ConsumerServices,
    @Inject(AckSender) private readonly acks: AckSender,
    @Inject(OutboxLifecycle) private readonly lifecycle: OutboxLifecycle,
    @Inject(DrainService) private readonly drains: DrainService,
  ) {}

  /** Nothing happens in a process whose `run.consumers` is false. */
  start(handler: MessageHandler): void {
    this.startAll([handler]);
  }

  /** @param others routes of consumers elsewhere, to be subscribed in the store as well, wherever consumers run */
  startAll(handlers: readonly MessageHandler[], others: readonly MessageRoute[] = []): void {
    const own = this.options.runConsumers ? handlers : [];
    const routes = [...others, ...own.map(({ route }) => route)];
    if (routes.length > 0) this.lifecycle.prepare('outbox subscriptions', () => this.store.subscribe(routes));
    if (own.length > 0) this.lifecycle.prepare('inbox', () => this.services.inbox.prepare());
    for (const handler of own) this.consume(handler);
  }

  private consume(handler: MessageHandler): void {
    const { route, options } = handler;
    const name = `consumer ${route.consumer} of ${route.topic}`;
    const consumer = new MessageConsumer(handler, this.services, this.acks);
    this.drains.register({ name: `${name}: batches`, phase: 'work', drain: async () => consumer.stop() });
    this.lifecycle.consume(name, () =>
      this.transport.consume(route, (batch) => consumer.handle(batch), {
        concurrency: options.concurrency,
        batchSize: options.batchSize,
      }),
    );
  }
}
