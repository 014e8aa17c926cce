import { ConfigurationError } from '@lockstep/core';
import type { NestInterceptor } from '@nestjs/common';
import type { ApplicationConfig } from '@nestjs/core';

/**
 * Moves an interceptor before all other global ones. Nest runs global interceptors in the order of their registration,
 * which is that of imports; and it reads the list when it makes the routes, after every module's `configure()`.
 */
export function makeOutermost(config: ApplicationConfig, interceptor: NestInterceptor): void {
  const interceptors = config.getGlobalInterceptors();
  const index = interceptors.indexOf(interceptor);
  if (index >= 0) interceptors.splice(index, 1);
  interceptors.unshift(interceptor);
}

/** @throws ConfigurationError when something was put before it since */
export function assertOutermost(config: ApplicationConfig, interceptor: NestInterceptor): void {
  const [first] = config.getGlobalInterceptors();
  if (first === interceptor) return;
  throw new ConfigurationError(
    `The interceptor of @Idempotent must be the outermost one, but ${first?.constructor.name ?? 'none'} stands before ` +
      'it: what is stored would not be what is sent.',
  );
}
