import { ConfigurationError } from '@lockstep/core';
import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { CompensationConsumers } from './compensation-consumers.js';
import { checkName, compensatorName } from './handler-names.js';
import { type Check, type Compensator, TransactionalHandlers } from './transactional-handlers.js';
import { transactionalMarkOf } from './transactional-message.decorator.js';

type Discovered = ReturnType<DiscoveryService['getProviders']>[number];
type Method = (...args: unknown[]) => Promise<unknown>;

/**
 * Finds the methods with `@TransactionalMessage` and makes known the checks and compensators that they name, before
 * anything is checked or consumed.
 */
@Injectable()
export class TransactionalExplorer implements OnModuleInit {
  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
    @Inject(TransactionalHandlers) private readonly handlers: TransactionalHandlers,
    @Inject(CompensationConsumers) private readonly compensations: CompensationConsumers,
  ) {}

  /** @throws ConfigurationError when a named method is missing, cannot be called, or two classes have one name */
  onModuleInit(): void {
    const seen = new Set<unknown>();
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      this.explore(wrapper, seen);
    }
  }

  private explore(wrapper: Discovered, seen: Set<unknown>): void {
    const instance = wrapper.instance as Record<string, unknown> | undefined;
    if (typeof instance !== 'object' || instance === null || seen.has(instance)) return;
    seen.add(instance);
    const prototype = Object.getPrototypeOf(instance) as object | null;
    if (!prototype) return;
    const [checks, compensators] = [new Set<string>(), new Set<string>()];
    for (const property of this.scanner.getAllMethodNames(prototype)) {
      const method = instance[property];
      const mark = typeof method === 'function' ? transactionalMarkOf(method) : undefined;
      if (!mark) continue;
      const named = mark.check !== undefined || mark.compensate !== undefined;
      // Of a transient one, Nest shows an object that nothing was injected into.
      if (named && (wrapper.isTransient || !wrapper.isDependencyTreeStatic()))
        throw notShared(checkName(instance, property));
      if (mark.check !== undefined) checks.add(mark.check);
      if (mark.compensate !== undefined) compensators.add(mark.compensate);
      else this.compensations.startAlarm();
    }
    for (const name of checks) {
      this.handlers.addCheck({ name: checkName(instance, name), run: methodOf(instance, name) as unknown as Check });
    }
    for (const name of compensators) {
      const run = methodOf(instance, name) as unknown as Compensator;
      this.handlers.addCompensator({ name: compensatorName(instance, name), run });
    }
  }
}

function methodOf(instance: Record<string, unknown>, name: string): Method {
  const method = instance[name];
  if (typeof method === 'function') return (...args) => (method as Method).apply(instance, args);
  throw new ConfigurationError(
    `@TransactionalMessage names '${name}', and ${instance.constructor.name} has no such method.`,
  );
}

function notShared(name: string): ConfigurationError {
  return new ConfigurationError(
    `${name} is decorated with @TransactionalMessage and names a method to be called later, but its class is made anew ` +
      'for every request or dependent. Move it into a provider of default scope.',
  );
}
