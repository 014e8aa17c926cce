import { ConfigurationError, urlWithoutSecrets } from '@lockstep/core';

const SCHEME = /^(nats|tls):\/\//i;

/**
 * The client takes `host:port` as well as URLs.
 *
 * @throws ConfigurationError naming the option and what of its value is no secret
 */
export function checkServer(option: string, server: unknown): void {
  const text = typeof server === 'string' ? server : '';
  const url = text.includes('://') ? text : `nats://${text}`;
  if (text !== '' && SCHEME.test(url) && URL.canParse(url)) return;
  const shown = typeof server === 'string' ? urlWithoutSecrets(server, SCHEME) : server;
  throw ConfigurationError.option(option, shown, 'a nats:// or tls:// URL');
}
