import { ConfigurationError } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { type Completer, operationsOf } from './idempotency-completer.decorator.js';

type Discovered = ReturnType<DiscoveryService['getProviders']>[number];

/** Finds the methods with `@IdempotencyCompleter`. */
@Injectable()
export class Completers {
  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
  ) {}

  /**
   * By the name of the operation.
   *
   * @throws ConfigurationError when two complete the same operation, or one is made anew for every request
   */
  find(): ReadonlyMap<string, Completer> {
    const found = new Map<string, { readonly name: string; readonly completer: Completer }>();
    const seen = new Set<unknown>();
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      for (const { operation, name, completer } of this.completersOf(wrapper, seen)) {
        const other = found.get(operation);
        if (other) throw new ConfigurationError(`${name} and ${other.name} both complete ${operation}.`);
        found.set(operation, { name, completer });
      }
    }
    return new Map(Array.from(found, ([operation, { completer }]) => [operation, completer]));
  }

  private *completersOf(wrapper: Discovered, seen: Set<unknown>) {
    const { metatype } = wrapper;
    const instance = wrapper.instance as Record<string, Completer> | undefined;
    const prototype = instanceOrType(instance, metatype);
    if (!prototype || seen.has(instance ?? metatype)) return;
    seen.add(instance ?? metatype);
    for (const property of this.scanner.getAllMethodNames(prototype)) {
      const method: unknown = (prototype as Record<string, unknown>)[property];
      const operations = typeof method === 'function' ? operationsOf(method) : [];
      if (operations.length === 0) continue;
      const name = `${prototype.constructor.name}.${property}`;
      if (!instance || !wrapper.isDependencyTreeStatic()) {
        throw new ConfigurationError(
          `${name} is decorated with @IdempotencyCompleter, but its class is made anew for every request.`,
        );
      }
      const completer: Completer = (abandoned) => (instance[property] as Completer).call(instance, abandoned);
      for (const operation of operations) yield { operation, name, completer };
    }
  }
}

function instanceOrType(instance: unknown, metatype: unknown): object | undefined {
  if (typeof instance === 'object' && instance !== null) return Object.getPrototypeOf(instance) ?? undefined;
  return typeof metatype === 'function' ? (metatype.prototype as object | undefined) : undefined;
}
