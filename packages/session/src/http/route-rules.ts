import type { IncomingMessage } from 'node:http';
import { Inject, Injectable, type OnModuleInit, type Type } from '@nestjs/common';
import { ApplicationConfig, DiscoveryService, HttpAdapterHost, MetadataScanner, ModulesContainer } from '@nestjs/core';
import { isWithoutSession, onStoreDownOf } from '../decorators/session-rules.js';
import { checkSessionRules } from './check-session-rules.js';
import { type NestRoute, nestRoutes } from './nest-routes.js';
import { type AdapterPaths, pathsOf } from './path-manners.js';
import { RoutePattern } from './route-pattern.js';

/** What a route says of its session before it is reached: that there is none, or what the store's outage means. */
export type RouteRule = 'no-session' | 'anonymous' | 'unavailable';

interface RuledRoute {
  readonly rule: RouteRule | undefined;
  readonly method: string | undefined;
  readonly patterns: readonly RoutePattern[];
}

interface Hit {
  readonly rule: RouteRule | undefined;
  readonly pattern: RoutePattern;
}

/**
 * Tells by method and path what the route of a request says about its session: a request enters before the framework has
 * found its route, and a session that is not wanted shall not be read. It only spares the reading: where another route
 * may be meant, nothing is said, and what the decorators promise is kept by their guards.
 */
@Injectable()
export class RouteRules implements OnModuleInit {
  private routes: readonly RuledRoute[] = [];
  private paths: AdapterPaths | undefined;

  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
    @Inject(ApplicationConfig) private readonly config: ApplicationConfig,
    @Inject(ModulesContainer) private readonly modules: ModulesContainer,
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
  ) {}

  /** @throws ConfigurationError where a class contradicts itself */
  onModuleInit(): void {
    const { discovery, scanner, config, modules, adapterHost } = this;
    for (const { metatype } of [...discovery.getControllers(), ...discovery.getProviders()]) {
      if (isClass(metatype)) checkSessionRules(metatype, scanner.getAllMethodNames(metatype.prototype as object));
    }
    if (!adapterHost.httpAdapter) return;
    const routes = nestRoutes({ discovery, scanner, config, modules });
    if (!routes.some(ruleOf)) return;
    const paths = pathsOf(adapterHost.httpAdapter);
    this.paths = paths;
    this.routes = routes.map((route) => ({
      rule: ruleOf(route),
      method: route.method,
      patterns: route.paths.map((path) => new RoutePattern(path, paths)),
    }));
  }

  find({ method = '', url = '' }: IncomingMessage): RouteRule | undefined {
    const path = this.paths?.pathOf(url);
    if (path === undefined) return undefined;
    const first = this.firstRuled(method, path);
    if (!first) return undefined;
    const { hit, at } = first;
    const isMeant = this.routes.every((route, index) => {
      if (route.rule === hit.rule || !serves(route, method)) return true;
      const others = route.patterns.filter((pattern) => pattern.mayMatch(path));
      // Express takes the first that matches, Fastify the one that says most: only then do both take this one.
      return others.every((other) => index > at && hit.pattern.isPreferredTo(other));
    });
    return isMeant ? hit.rule : undefined;
  }

  private firstRuled(method: string, path: string): { hit: Hit; at: number } | undefined {
    for (const [at, route] of this.routes.entries()) {
      if (!route.rule || !serves(route, method)) continue;
      const pattern = route.patterns.find((one) => one.matches(path));
      if (pattern) return { hit: { rule: route.rule, pattern }, at };
    }
    return undefined;
  }
}

function ruleOf({ controller, handler, needsMore }: NestRoute): RouteRule | undefined {
  if (needsMore) return undefined;
  return isWithoutSession(controller, handler) ? 'no-session' : onStoreDownOf(controller, handler);
}

function serves(route: RuledRoute, method: string): boolean {
  return route.method === undefined || route.method === method || (route.method === 'GET' && method === 'HEAD');
}

function isClass(metatype: unknown): metatype is Type {
  return typeof metatype === 'function' && typeof (metatype as Partial<Type>).prototype === 'object';
}
