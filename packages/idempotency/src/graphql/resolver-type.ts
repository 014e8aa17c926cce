/** Metadata of `@nestjs/graphql`, which is no dependency. */
const RESOLVER_TYPE = 'graphql:resolver_type';

/** `Query`, `Mutation` or `Subscription`, where a method is a resolver of one. */
export function resolverTypeOf(handler: object): string | undefined {
  const type: unknown = Reflect.getMetadata(RESOLVER_TYPE, handler);
  return typeof type === 'string' ? type : undefined;
}
