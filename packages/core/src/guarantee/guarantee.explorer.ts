import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, ModuleRef } from '@nestjs/core';
import { ConfigurationError } from '../errors/configuration.error.js';
import { assertComposition } from './composition.js';
import { type Guarantee, guaranteesOf } from './guarantee.js';
import { setRuntime } from './runtime-property.js';

type Discovered = ReturnType<DiscoveryService['getProviders']>[number];

/** A method with guarantees, as found on a prototype chain. */
interface GuardedMethod {
  readonly name: string;
  readonly guarantees: readonly Guarantee<unknown>[];
}

/**
 * At boot, looks at every provider and controller: guarantees must stand in an order that protects something, and an
 * instance that a factory or a value brought along, which Nest does not inject into, is given its runtimes here.
 */
@Injectable()
export class GuaranteeExplorer implements OnModuleInit {
  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(ModuleRef) private readonly moduleRef: ModuleRef,
  ) {}

  onModuleInit(): void {
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      this.explore(wrapper);
    }
  }

  private explore(wrapper: Discovered): void {
    const prototype = prototypeOf(wrapper);
    if (!prototype) return;
    for (const method of guardedMethods(prototype)) {
      assertComposition(method.name, method.guarantees);
      if (wrapper.isNotMetatype) this.provideRuntimes(wrapper.instance as object, method);
    }
  }

  private provideRuntimes(instance: object, method: GuardedMethod): void {
    for (const guarantee of method.guarantees) {
      try {
        setRuntime(instance, guarantee, this.moduleRef.get(guarantee.runtime, { strict: false }));
      } catch (cause) {
        throw new ConfigurationError(
          `${method.name} is decorated with @${guarantee.name}; import ${guarantee.module} so that it can be kept.`,
          cause,
        );
      }
    }
  }
}

function prototypeOf(wrapper: Discovered): object | undefined {
  if (!wrapper.isNotMetatype) return (wrapper.metatype as { prototype?: object } | null)?.prototype;
  const { instance } = wrapper;
  return typeof instance === 'object' && instance !== null ? Object.getPrototypeOf(instance) : undefined;
}

/** Own and inherited methods, the nearest of each name, symbol-named ones included. */
function guardedMethods(prototype: object): GuardedMethod[] {
  const seen = new Map<string | symbol, GuardedMethod>();
  for (let at: object | null = prototype; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const key of Reflect.ownKeys(at)) {
      const value: unknown = Object.getOwnPropertyDescriptor(at, key)?.value;
      if (seen.has(key) || typeof value !== 'function') continue;
      seen.set(key, { name: `${at.constructor.name}.${String(key)}`, guarantees: guaranteesOf(value) });
    }
  }
  return [...seen.values()].filter((method) => method.guarantees.length > 0);
}
