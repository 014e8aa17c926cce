import { type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { IDEMPOTENCY_STORE, type IdempotencyStore } from '../idempotency-store.js';
import { type IdempotentRoute, idempotentRouteOf } from '../idempotent.decorator.js';
import { type Discovered, prototypeOf } from '../method/discovered.js';
import { IdempotencyTokens } from '../tokens/idempotency-tokens.service.js';
import { issuingRouteOf } from '../tokens/issue-idempotency-token.decorator.js';
import { type Class, markedMethods } from './marked-method.js';
import { answersItself, checkMutation, checkRoute } from './route-rules.js';

/** What is known of a route beside what its decorator says. */
export interface KeptRoute extends IdempotentRoute {
  /** Nest sends nothing: the handler answers through `@Res()`. */
  readonly answersItself: boolean;
}

/**
 * Knows which handlers are idempotent. At boot it refuses what could not be kept: a method that is no HTTP route,
 * answers that cannot be told again or are not the handler's own, and tokens that nobody could issue. Issuing routes are
 * looked at by the same rules, for their answers are changed there.
 */
@Injectable()
export class IdempotentRoutes {
  private readonly known = new WeakMap<object, KeptRoute | 'none'>();
  private issues = false;
  private isChecked = false;

  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(IdempotencyTokens) private readonly tokens: IdempotencyTokens,
    @Inject(IDEMPOTENCY_STORE) private readonly store: IdempotencyStore,
  ) {}

  of(context: ExecutionContext): KeptRoute | undefined {
    const handler = context.getHandler();
    let route = this.known.get(handler);
    if (route === undefined) {
      route = keptRoute(handler, context.getClass()) ?? 'none';
      this.known.set(handler, route);
    }
    return route === 'none' ? undefined : route;
  }

  /** Whether any route issues tokens, once {@link check} has looked. */
  get isIssuing(): boolean {
    return this.issues;
  }

  /** @throws ConfigurationError naming the method and what is wrong with it */
  check(): void {
    if (this.isChecked) return;
    this.isChecked = true;
    for (const provider of this.discovery.getProviders()) {
      for (const method of markedMethods(classOf(provider))) checkMutation(method, this.store);
    }
    for (const { metatype } of this.discovery.getControllers()) {
      for (const method of markedMethods(metatype)) {
        checkRoute(method, this.store);
        this.checkTokens(method.handler);
      }
    }
  }

  private checkTokens(handler: object): void {
    const issuing = issuingRouteOf(handler);
    if (issuing) {
      this.issues = true;
      this.tokens.assertUsable(issuing.purpose, issuing.ttl === undefined ? {} : { ttl: issuing.ttl });
    }
    const taken = idempotentRouteOf(handler)?.token;
    if (taken) this.tokens.assertUsable(taken.purpose);
  }
}

/** Of what refuses to be looked at nothing is known; `KeyedMethods` looks too, and reports it. */
function classOf(provider: Discovered): unknown {
  try {
    return prototypeOf(provider)?.constructor;
  } catch {
    return undefined;
  }
}

function keptRoute(handler: object, type: Class): KeptRoute | undefined {
  const route = idempotentRouteOf(handler);
  if (!route) return undefined;
  const property = markedMethods(type).find((method) => method.handler === handler)?.property;
  return Object.freeze({ ...route, answersItself: property !== undefined && answersItself(type, property, handler) });
}
