import { type ExecutionContext, VersioningType } from '@nestjs/common';
import type { ApplicationConfig } from '@nestjs/core';

/** Metadata of Nest's `@Version`, the same in 11 and 12; the module that names it is not public. */
const VERSION = '__version__';

/**
 * The versions that a route is for, `1` or `1,2`; empty where it has none or where its path says them. Without them two
 * handlers behind one path, told apart by a header, would answer for each other.
 */
export function routeVersion(context: ExecutionContext, config: ApplicationConfig): string {
  const versioning = config.getVersioning();
  if (!versioning || versioning.type === VersioningType.URI) return '';
  const version: unknown =
    Reflect.getMetadata(VERSION, context.getHandler()) ?? Reflect.getMetadata(VERSION, context.getClass());
  if (Array.isArray(version)) return version.map(nameOf).sort().join();
  return typeof version === 'string' ? version : '';
}

/** Beside others the neutral version is one of its own. */
function nameOf(version: unknown): string {
  return typeof version === 'string' ? version : '*';
}
