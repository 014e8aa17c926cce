import { ConfigurationError } from '@lockstep/core';
import type { ExecutionContext } from '@nestjs/common';

/** What the four arguments of a resolver say of the mutation; known by their form, because `graphql` is no dependency. */
export interface MutationRequest {
  /** The name of the field, which is what is being done. */
  readonly field: string;
  /** The alias of the field in its document, else its name: unique within one request. */
  readonly alias: string;
  readonly args: unknown;
  readonly headers: Readonly<Record<string, unknown>>;
}

interface ResolveInfo {
  readonly fieldName: string;
  readonly path: { readonly key: string | number };
  readonly operation: { readonly operation: string };
}

interface ServerContext {
  readonly req?: Partial<RequestLike>;
  readonly request?: Partial<RequestLike>;
  readonly reply?: { readonly request?: Partial<RequestLike> };
}

interface RequestLike {
  readonly headers: Readonly<Record<string, unknown>>;
}

/**
 * @throws ConfigurationError for what is no mutation, and where the context of the resolvers holds no request
 */
export function mutationRequestOf(context: ExecutionContext): MutationRequest {
  const [, args, server, info] = context.getArgs<[unknown, unknown, ServerContext | undefined, ResolveInfo]>();
  const { fieldName: field, path, operation } = info;
  if (operation.operation !== 'mutation') {
    throw new ConfigurationError(`${field} is decorated with @Idempotent, but it is part of a ${operation.operation}.`);
  }
  const { headers } = server?.req ?? server?.request ?? server?.reply?.request ?? {};
  if (headers) return { field, alias: String(path.key), args, headers };
  throw new ConfigurationError(
    `${field} is decorated with @Idempotent, but the context of the GraphQL server has no request as req or request, ` +
      'so that its headers cannot be read.',
  );
}
