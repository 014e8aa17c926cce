import { ConfigurationError, Incidents } from '@lockstep/core';
import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { assertAnswersByResult } from '../http/route-rules.js';
import { type Discovered, prototypeOf } from './discovered.js';
import { operationOfMethod } from './idempotent-method.js';
import { keyedMethodOf } from './keyed-method.js';

interface Owner {
  readonly prototype: object;
  readonly property: string | symbol;
}

interface FoundMethod {
  readonly operation: string;
  readonly property: string | symbol;
  readonly handler: object;
}

/**
 * Refuses at boot what methods with a key could not keep: two methods with the same operation, which would answer for
 * each other, and routes that answer by themselves.
 */
@Injectable()
export class KeyedMethods implements OnModuleInit {
  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  /** @throws ConfigurationError naming the method and what is wrong with it */
  onModuleInit(): void {
    const owners = new Map<string, Owner>();
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      const { prototype, methods } = this.lookAt(wrapper);
      for (const method of methods) assertAlone(owners, method, prototype);
    }
    for (const wrapper of this.discovery.getControllers()) {
      const { prototype, methods } = this.lookAt(wrapper);
      for (const method of methods)
        assertAnswersByResult({
          ...method,
          name: nameOf({ prototype, property: method.property }),
          decorators: ['@Idempotent'],
          type: prototype.constructor,
        });
    }
  }

  /** What a factory made may be a proxy that refuses to be looked at; the application must start all the same. */
  private lookAt(wrapper: Discovered): { readonly prototype: object; readonly methods: readonly FoundMethod[] } {
    try {
      const prototype = prototypeOf(wrapper);
      if (prototype) return { prototype, methods: keyedMethods(prototype) };
    } catch (cause) {
      this.incidents.report({
        code: 'PROVIDER_NOT_EXPLORED',
        source: 'idempotency.methods',
        message: `could not look for @Idempotent on the provider ${String(wrapper.name)}`,
        cause,
      });
    }
    return { prototype: Object.prototype, methods: [] };
  }
}

function assertAlone(owners: Map<string, Owner>, { operation, property }: FoundMethod, prototype: object): void {
  const owner = owners.get(operation);
  owners.set(operation, { prototype, property });
  if (!owner || (owner.prototype === prototype && owner.property === property)) return;
  throw new ConfigurationError(
    `Two methods have the operation '${operation}': ${nameOf(owner)} and ${nameOf({ prototype, property })}. A key of ` +
      'one would be answered by the other; give each an operation, or a consumer, of its own.',
  );
}

function nameOf({ prototype, property }: Owner): string {
  return `${prototype.constructor.name}.${String(property)}`;
}

/** Own and inherited ones, the nearest of each name. */
function keyedMethods(prototype: object): FoundMethod[] {
  const found = new Map<string | symbol, FoundMethod | undefined>();
  for (
    let at: object | null = prototype;
    at && at !== Object.prototype;
    at = Object.getPrototypeOf(at) as object | null
  ) {
    for (const property of Reflect.ownKeys(at)) {
      const handler: unknown = Object.getOwnPropertyDescriptor(at, property)?.value;
      if (found.has(property) || typeof handler !== 'function') continue;
      const method = keyedMethodOf(handler);
      const operation = method && (method.operation ?? operationOfMethod(method, prototype));
      found.set(property, operation === undefined ? undefined : { operation, property, handler });
    }
  }
  return [...found.values()].filter((method) => method !== undefined);
}
