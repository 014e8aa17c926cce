import { ConfigurationError } from '@lockstep/core';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../outbox.options.js';
import { ConsumerStarter } from './consumer-starter.js';
import { type MessageHandler, MessageHandlerFactory } from './message-handler.js';
import { handlerMarksOf } from './on-message.decorator.js';

type Discovered = ReturnType<DiscoveryService['getProviders']>[number];
type Method = (...args: unknown[]) => unknown;

/** Finds the methods with `@OnMessage`, and has {@link ConsumerStarter} consume for them. */
@Injectable()
export class MessageExplorer implements OnApplicationBootstrap {
  constructor(
    @Inject(OUTBOX_OPTIONS) private readonly options: ResolvedOutboxOptions,
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
    @Inject(MessageHandlerFactory) private readonly factory: MessageHandlerFactory,
    @Inject(ConsumerStarter) private readonly starter: ConsumerStarter,
  ) {}

  /** @throws ConfigurationError when two handlers are the same consumer of a topic, or one cannot be called */
  onApplicationBootstrap(): void {
    this.starter.startAll(this.handlers(), this.options.routes);
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
        // Of a transient one, Nest shows an object that nothing was injected into.
        if (wrapper.isTransient || !wrapper.isDependencyTreeStatic())
          throw notShared(`${prototype.constructor.name}.${property}`);
        yield this.factory.create(instance, method as Method, property, mark);
      }
    }
  }
}

function notShared(name: string): ConfigurationError {
  return new ConfigurationError(
    `${name} is decorated with @OnMessage, but its class is made anew for every request or dependent. Handlers ` +
      'belong into a provider of default scope; ask for what belongs to the message through RequestContext.',
  );
}
