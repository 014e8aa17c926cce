import type { MallConfig } from './mall.config.js';

/** Whether a host, without its port, is one of the mall's. */
export function isOfMall(host: string, domain: string): boolean {
  return host === domain || host.endsWith(`.${domain}`);
}

/**
 * The pages that may send forms to the mall: those of its own hosts, by name, for another subdomain may be somebody
 * else's. Plain HTTP is for a mall on this machine alone: on the way from elsewhere anybody could write such a page.
 */
export function originsOf({ domain, port }: Pick<MallConfig, 'domain' | 'port'>): string[] {
  const hosts = [`www.${domain}`, `order.${domain}`];
  const isHere = isOfMall(domain, 'localhost');
  return hosts.flatMap((host) => [
    `https://${host}`,
    ...(isHere ? [`http://${host}`, ...(port === 0 ? [] : [`http://${host}:${port}`])] : []),
  ]);
}
