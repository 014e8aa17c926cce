import { ConfigurationError } from '@lockstep/core';
import { type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { type IdempotentRoute, idempotentRouteOf } from '../idempotent.decorator.js';

/** Metadata of Nest's router, the same in 11 and 12; the module that names them is not public in 11. */
const PATH = 'path';
const ROUTE_ARGS = '__routeArguments__';
const PASSTHROUGH = '__responsePassthrough__';
const SSE = '__sse__';
const RENDER = '__renderTemplate__';
const REDIRECT = '__redirect__';
const RESPONSE_PARAM = '1';
const NEXT_PARAM = '2';

/** What is known of a route beside what its decorator says. */
export interface KeptRoute extends IdempotentRoute {
  /** Nest sends nothing: the handler answers through `@Res()`. */
  readonly answersItself: boolean;
}

type Class = abstract new (...args: never[]) => unknown;

/**
 * Knows which handlers are idempotent. At boot it refuses what could not be kept: a method that is no HTTP route, and
 * answers that cannot be told again or are not the handler's own.
 */
@Injectable()
export class IdempotentRoutes {
  private readonly known = new WeakMap<object, KeptRoute | 'none'>();

  constructor(@Inject(DiscoveryService) private readonly discovery: DiscoveryService) {}

  of(context: ExecutionContext): KeptRoute | undefined {
    const handler = context.getHandler();
    let route = this.known.get(handler);
    if (route === undefined) {
      route = keptRoute(handler, context.getClass()) ?? 'none';
      this.known.set(handler, route);
    }
    return route === 'none' ? undefined : route;
  }

  /** @throws ConfigurationError naming the method and what is wrong with it */
  check(): void {
    for (const { metatype } of this.discovery.getProviders()) {
      for (const { name } of idempotentMethods(metatype)) throw refused(name, 'is no route of a controller');
    }
    for (const { metatype } of this.discovery.getControllers()) {
      for (const method of idempotentMethods(metatype)) checkRoute(method);
    }
  }
}

interface IdempotentMethod {
  readonly name: string;
  readonly type: Class;
  readonly property: string | symbol;
  readonly handler: object;
}

function checkRoute({ name, type, property, handler }: IdempotentMethod): void {
  if (!Reflect.hasMetadata(PATH, handler)) throw refused(name, 'is no HTTP route');
  if (Reflect.getMetadata(SSE, handler) === true) {
    throw refused(name, 'sends events, which cannot be told again');
  }
  if (Reflect.hasMetadata(RENDER, handler)) {
    throw refused(name, 'gives Nest a template to render; render it through @Res(), so that what is sent can be kept');
  }
  if (takes(NEXT_PARAM, type, property)) {
    throw refused(name, 'may hand the request on by @Next(), and then the answer is not its own');
  }
}

function keptRoute(handler: object, type: Class): KeptRoute | undefined {
  const route = idempotentRouteOf(handler);
  if (!route) return undefined;
  const property = idempotentMethods(type).find((method) => method.handler === handler)?.property;
  return Object.freeze({ ...route, answersItself: property !== undefined && answersItself(type, property, handler) });
}

/** As Nest decides it: where it redirects, it answers whatever the handler takes. */
function answersItself(type: Class, property: string | symbol, handler: object): boolean {
  const redirect = Reflect.getMetadata(REDIRECT, handler) as { readonly url?: unknown } | undefined;
  const isPassthrough = Reflect.getMetadata(PASSTHROUGH, type, property) === true;
  return takes(RESPONSE_PARAM, type, property) && !isPassthrough && typeof redirect?.url !== 'string';
}

function takes(param: string, type: Class, property: string | symbol): boolean {
  const args = (Reflect.getMetadata(ROUTE_ARGS, type, property) ?? {}) as Readonly<Record<string, unknown>>;
  return Object.keys(args).some((arg) => arg.split(':')[0] === param);
}

function refused(name: string, reason: string): ConfigurationError {
  return new ConfigurationError(`${name} is decorated with @Idempotent, but it ${reason}.`);
}

/** Own and inherited ones, the nearest of each name. */
function idempotentMethods(metatype: unknown): IdempotentMethod[] {
  if (typeof metatype !== 'function' || typeof metatype.prototype !== 'object') return [];
  const type = metatype as Class;
  const found = new Map<string | symbol, IdempotentMethod | undefined>();
  for (
    let at: object | null = type.prototype as object;
    at && at !== Object.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    for (const property of Reflect.ownKeys(at)) {
      const handler: unknown = Object.getOwnPropertyDescriptor(at, property)?.value;
      if (found.has(property) || typeof handler !== 'function') continue;
      const isIdempotent = property !== 'constructor' && idempotentRouteOf(handler) !== undefined;
      found.set(
        property,
        isIdempotent ? { name: `${type.name}.${String(property)}`, type, property, handler } : undefined,
      );
    }
  }
  return [...found.values()].filter((method) => method !== undefined);
}
