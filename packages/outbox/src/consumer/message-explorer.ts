import { ConfigurationError } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { AckSender } from '../ack/ack-sender.js';
import { MESSAGE_TRANSPORT, type MessageTransport } from '../message-transport.js';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { OutboxLifecycle } from '../outbox-lifecycle.js';
import { OUTBOX_STORE, type OutboxStore } from '../outbox-store.js';
import { ConsumerServices, MessageConsumer } from './message-consumer.js';
import { type MessageHandler, MessageHandlerFactory } from './message-handler.js';
import { handlerMarksOf } from './on-message.decorator.js';

type Discovered = ReturnType<DiscoveryService['getProviders']>[number];
type Method = (...args: unknown[]) => unknown;

/** Finds the methods with `@OnMessage` and consumes for them: subscribes in the store, then at the transport. */
@Injectable()
export class MessageExplorer implements OnApplicationBootstrap {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(OUTBOX_STORE) private readonly store: OutboxStore,
    @Inject(MESSAGE_TRANSPORT) private readonly transport: MessageTransport,
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
    @Inject(MessageHandlerFactory) private readonly factory: MessageHandlerFactory,
    @Inject(ConsumerServices) private readonly services: ConsumerServices,
    @Inject(AckSender) private readonly acks: AckSender,
    @Inject(OutboxLifecycle) private readonly lifecycle: OutboxLifecycle,
  ) {}

  /** @throws ConfigurationError when two handlers are the same consumer of a topic, or one cannot be called */
  onApplicationBootstrap(): void {
    const handlers = this.handlers();
    const own = this.options.runConsumers ? handlers : [];
    const routes = [...this.options.routes, ...own.map(({ route }) => route)];
    if (routes.length > 0) this.lifecycle.prepare('outbox subscriptions', () => this.store.subscribe(routes));
    if (own.length > 0) this.lifecycle.prepare('inbox', () => this.services.inbox.prepare());
    for (const handler of own) this.start(handler);
  }

  private start(handler: MessageHandler): void {
    const { route, options } = handler;
    const consumer = new MessageConsumer(handler, this.services, this.acks);
    this.lifecycle.consume(`consumer ${route.consumer} of ${route.topic}`, () =>
      this.transport.consume(route, (batch) => consumer.handle(batch), {
        concurrency: options.concurrency,
        batchSize: options.batchSize,
      }),
    );
  }

  private handlers(): readonly MessageHandler[] {
    const found = new Map<string, MessageHandler>();
    const seen = new Set<unknown>();
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      for (const handler of this.handlersOf(wrapper, seen)) {
        const name = `${handler.route.topic} as ${handler.route.consumer}`;
        const other = found.get(name);
        if (other) throw new ConfigurationError(`${handler.name} and ${other.name} both consume ${name}.`);
        found.set(name, handler);
      }
    }
    return [...found.values()];
  }

  private *handlersOf(wrapper: Discovered, seen: Set<unknown>): Generator<MessageHandler> {
    const instance = wrapper.instance as Record<string, unknown> | undefined;
    if (typeof instance !== 'object' || instance === null || seen.has(instance)) return;
    seen.add(instance);
    const prototype = Object.getPrototypeOf(instance) as object | null;
    if (!prototype) return;
    for (const property of this.scanner.getAllMethodNames(prototype)) {
      const method = instance[property];
      if (typeof method !== 'function') continue;
      for (const mark of handlerMarksOf(method)) {
        if (!wrapper.isDependencyTreeStatic()) throw requestScoped(`${prototype.constructor.name}.${property}`);
        yield this.factory.create(instance, method as Method, property, mark);
      }
    }
  }
}

function requestScoped(name: string): ConfigurationError {
  return new ConfigurationError(
    `${name} is decorated with @OnMessage, but its class is made anew for every request. Handlers belong into a ` +
      'provider of default scope; ask for what belongs to the message through RequestContext.',
  );
}
