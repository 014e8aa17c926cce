import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, ModuleRef } from '@nestjs/core';
import { ConfigurationError } from '../errors/configuration.error.js';
import { Incidents } from '../telemetry/incidents.js';
import { assertComposition } from './composition.js';
import { assertDemands, demandsOn, type GuaranteeDemand } from './demanded-guarantees.js';
import { type Guarantee, guaranteesOf } from './guarantee.js';
import { passesThrough, setRuntime } from './runtime-property.js';

type Discovered = ReturnType<DiscoveryService['getProviders']>[number];

/** A method with guarantees, or with something that demands one, as found on a prototype chain. */
interface GuardedMethod {
  readonly name: string;
  readonly demands: readonly GuaranteeDemand[];
  readonly guarantees: readonly Guarantee<unknown>[];
}

/**
 * At boot, looks at every provider and controller: guarantees must stand in an order that protects something and
 * where something demands them, and an instance that a factory or a value brought along, which Nest does not inject
 * into, is given its runtimes here. Global modules are initialised first, so that an `onModuleInit` of the application
 * may already call a guarded method.
 */
@Injectable()
export class GuaranteeExplorer implements OnModuleInit {
  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(ModuleRef) private readonly moduleRef: ModuleRef,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  onModuleInit(): void {
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      for (const method of this.guardedMethodsOf(wrapper)) {
        assertComposition(method.name, method.guarantees);
        assertDemands(method.name, method.demands, method.guarantees);
        if (wrapper.isNotMetatype) this.provideRuntimes(wrapper.instance as object, method);
        this.verify(method);
      }
    }
  }

  /** What a factory made may be a proxy that refuses to be looked at; the application must start all the same. */
  private guardedMethodsOf(wrapper: Discovered): readonly GuardedMethod[] {
    try {
      return guardedMethods(prototypeOf(wrapper));
    } catch (cause) {
      this.incidents.report({
        code: 'PROVIDER_NOT_EXPLORED',
        source: 'core.explorer',
        message: `could not look for guarantees on the provider ${String(wrapper.name)}`,
        cause,
      });
      return [];
    }
  }

  private verify({ demands }: GuardedMethod): void {
    for (const demand of demands) {
      demand.verify?.(this.moduleRef.get(demand.guarantee.runtime, { strict: false }));
    }
  }

  private provideRuntimes(instance: object, method: GuardedMethod): void {
    if (passesThrough(instance)) return;
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

function prototypeOf(wrapper: Discovered): object | null {
  if (!wrapper.isNotMetatype) return (wrapper.metatype as { prototype?: object } | null)?.prototype ?? null;
  const { instance } = wrapper;
  return typeof instance === 'object' && instance !== null ? Object.getPrototypeOf(instance) : null;
}

/** Own and inherited methods, the nearest of each name, symbol-named ones included. */
function guardedMethods(prototype: object | null): GuardedMethod[] {
  const seen = new Set<string | symbol>();
  const guarded: GuardedMethod[] = [];
  for (let at = prototype; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const key of Reflect.ownKeys(at)) {
      if (seen.has(key)) continue;
      seen.add(key);
      const value: unknown = Object.getOwnPropertyDescriptor(at, key)?.value;
      const guarantees = typeof value === 'function' ? guaranteesOf(value) : [];
      const demands = demandsOn(at, key);
      if (guarantees.length === 0 && demands.length === 0) continue;
      guarded.push({ name: `${at.constructor?.name}.${String(key)}`, guarantees, demands });
    }
  }
  return guarded;
}
