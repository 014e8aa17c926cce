import type { ExecutionContext } from '@nestjs/common';

type Host = string | RegExp;

/** Metadata of Nest's `@Controller({ host })`, the same in 11 and 12; the module that names it is not public. */
const HOST = 'host';

/**
 * The hosts that a route is for, `api.example.com` or `:tenant.example.com,example.com`; empty where it is for all.
 * Without them two handlers behind one path, told apart by the host, would answer for each other.
 */
export function routeHost(context: ExecutionContext): string {
  const host = Reflect.getMetadata(HOST, context.getClass()) as Host | readonly Host[] | undefined;
  if (host === undefined) return '';
  return [host].flat().map(String).sort().join();
}
