import { RequestMethod, type Type, VERSION_NEUTRAL, type VersioningOptions, VersioningType } from '@nestjs/common';
import type { ApplicationConfig, DiscoveryService, MetadataScanner, ModulesContainer } from '@nestjs/core';

/** Metadata of Nest's router, the same in 11 and 12; the module that names them is not public in 11. */
const PATH = 'path';
const METHOD = 'method';
const HOST = 'host';
const VERSION = '__version__';
const MODULE_PATH = '__module_path__';

type Version = string | typeof VERSION_NEUTRAL | readonly (string | typeof VERSION_NEUTRAL)[];

/** A handler and where it is reached. */
export interface NestRoute {
  readonly controller: Type;
  readonly handler: object;
  readonly property: string;
  /** Undefined for all. */
  readonly method: string | undefined;
  /** As they are registered, prefix and version included. */
  readonly paths: readonly string[];
  /** Whether more than method and path decides that this handler is reached: a host, a header. */
  readonly needsMore: boolean;
}

export interface NestRouter {
  readonly discovery: DiscoveryService;
  readonly scanner: MetadataScanner;
  readonly config: ApplicationConfig;
  readonly modules: ModulesContainer;
}

/** The routes of all controllers, in the order in which Nest registers them. */
export function nestRoutes(router: NestRouter): NestRoute[] {
  const routes: NestRoute[] = [];
  for (const { metatype, host } of router.discovery.getControllers()) {
    const controller = metatype as Type | null;
    if (typeof controller !== 'function' || !controller.prototype) continue;
    const modulePath = modulePathOf(router.modules, host?.metatype);
    const prototype = controller.prototype as Record<string, object>;
    for (const property of router.scanner.getAllMethodNames(prototype)) {
      const handler = prototype[property];
      if (!handler || Reflect.getMetadata(PATH, handler) === undefined) continue;
      routes.push(routeOf({ controller, handler, property, modulePath }, router.config));
    }
  }
  return routes;
}

interface Found {
  readonly controller: Type;
  readonly handler: object;
  readonly property: string;
  readonly modulePath: string;
}

function routeOf({ controller, handler, property, modulePath }: Found, config: ApplicationConfig): NestRoute {
  const versioning = config.getVersioning();
  const version = versioning && versionOf(controller, handler, versioning);
  const requestMethod = Reflect.getMetadata(METHOD, handler) as RequestMethod;
  const byUri = versioning?.type === VersioningType.URI;
  const paths: string[] = [];
  for (const versionPath of byUri ? versionPaths(version, versioning) : ['']) {
    for (const controllerPath of listed<string>(Reflect.getMetadata(PATH, controller))) {
      for (const path of listed<string>(Reflect.getMetadata(PATH, handler))) {
        const bare = joined(joined(joined('', modulePath), controllerPath), path);
        paths.push(prefixed(bare, versionPath, requestMethod, config));
      }
    }
  }
  return {
    controller,
    handler,
    property,
    method: requestMethod === RequestMethod.ALL ? undefined : RequestMethod[requestMethod],
    paths,
    needsMore:
      Reflect.hasMetadata(HOST, controller) && Reflect.getMetadata(HOST, controller) !== undefined
        ? true
        : version !== undefined && !byUri,
  };
}

function versionOf(controller: Type, handler: object, versioning: VersioningOptions): Version | undefined {
  const { defaultVersion } = versioning as { defaultVersion?: Version };
  return (Reflect.getMetadata(VERSION, handler) ?? Reflect.getMetadata(VERSION, controller) ?? defaultVersion) as
    | Version
    | undefined;
}

function versionPaths(version: Version | undefined, versioning: VersioningOptions): string[] {
  const { prefix = 'v' } = versioning as { prefix?: string | false };
  if (version === undefined) return [''];
  return listed<string | symbol>(version as string).map((one) =>
    one === VERSION_NEUTRAL ? '' : `/${prefix === false ? '' : prefix}${String(one)}`,
  );
}

function prefixed(path: string, versionPath: string, method: RequestMethod, config: ApplicationConfig): string {
  const prefix = config.getGlobalPrefix();
  const versioned = `${versionPath}${path}`;
  const isExcluded = (config.getGlobalPrefixOptions().exclude ?? []).some(
    ({ pathRegex, requestMethod }) =>
      // Nest itself notes "all methods" as -1 where only a path was given.
      (requestMethod === RequestMethod.ALL || Number(requestMethod) === -1 || requestMethod === method) &&
      pathRegex.test(path === '' ? '/' : path),
  );
  const whole = prefix && !isExcluded ? joined(joined('', prefix), versioned) : versioned;
  return whole.length > 1 && whole.endsWith('/') ? whole.slice(0, -1) : whole || '/';
}

function modulePathOf(modules: ModulesContainer, module: unknown): string {
  if (typeof module !== 'function') return '';
  const own: unknown = Reflect.getMetadata(MODULE_PATH + modules.applicationId, module);
  return String(own ?? Reflect.getMetadata(MODULE_PATH, module) ?? '');
}

/** As Nest joins: a part that is empty or a lone slash adds nothing. */
function joined(path: string, part: string): string {
  if (part === '' || part === '/') return path;
  return `${path.replace(/\/$/, '')}${part.startsWith('/') || part.startsWith('{/') ? part : `/${part}`}`;
}

function listed<T>(value: unknown): readonly T[] {
  return (Array.isArray(value) ? value : [value]) as readonly T[];
}
