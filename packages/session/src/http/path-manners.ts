import type { AbstractHttpAdapter } from '@nestjs/core';
import type { PathManners } from './route-pattern.js';

export interface AdapterPaths extends PathManners {
  /** The path of a request as the router compares it; undefined where that is hard to tell. */
  pathOf(url: string): string | undefined;
}

interface FastifyOptions {
  readonly caseSensitive?: boolean;
  readonly ignoreTrailingSlash?: boolean;
}

interface FastifyInstance {
  readonly initialConfig: FastifyOptions & { readonly routerOptions?: FastifyOptions };
}

interface ExpressInstance {
  readonly router?: { readonly caseSensitive?: boolean; readonly strict?: boolean };
}

/** How the framework under an adapter finds its routes. */
export function pathsOf(adapter: AbstractHttpAdapter): AdapterPaths {
  if (adapter.getType() === 'fastify') {
    const { initialConfig } = adapter.getInstance() as FastifyInstance;
    const options = { ...initialConfig, ...initialConfig.routerOptions };
    return {
      isCaseSensitive: options.caseSensitive !== false,
      isStrict: options.ignoreTrailingSlash !== true,
      pathOf: (url) => decoded(pathname(url)),
    };
  }
  // Of a framework that is not known here, only what is written exactly so is certain.
  if (adapter.getType() !== 'express') return { isCaseSensitive: true, isStrict: true, pathOf: pathname };
  const { router } = adapter.getInstance() as ExpressInstance;
  return { isCaseSensitive: router?.caseSensitive === true, isStrict: router?.strict === true, pathOf: pathname };
}

/** Undefined also for a target that is no path, and one with what should not be there. */
function pathname(url: string): string | undefined {
  if (!url.startsWith('/') || url.includes('#') || url.includes(';')) return undefined;
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** Fastify decodes what is not reserved before it looks for a route, Express afterwards. */
function decoded(path: string | undefined): string | undefined {
  if (path === undefined || !path.includes('%')) return path;
  try {
    return decodeURI(path);
  } catch {
    // It is answered as malformed.
    return undefined;
  }
}
