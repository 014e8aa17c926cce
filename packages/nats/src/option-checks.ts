import { ConfigurationError } from '@lockstep/core';

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Names the keys of an object and not its values: where a connection is expected, people pass settings with a password. */
export function wrongShape(option: string, value: unknown, expected: string): ConfigurationError {
  if (!isObject(value)) return ConfigurationError.option(option, value, expected);
  const names = Object.keys(value).slice(0, 10).join(', ');
  const shape = names === '' ? 'an object without properties' : `an object with ${names}`;
  return new ConfigurationError(`Option '${option}' is ${shape}; expected ${expected}.`);
}

/** @throws ConfigurationError naming the option and its value */
export function wholeNumber(option: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw ConfigurationError.option(option, value, `a whole number from ${min} to ${max}`);
  }
  return value;
}

/**
 * The client takes `host:port` as well as URLs.
 *
 * @throws ConfigurationError naming the option and what of its value is no secret
 */
export function checkServer(option: string, server: unknown): void {
  const text = typeof server === 'string' ? server : '';
  const url = text.includes('://') ? text : `nats://${text}`;
  if (text !== '' && /^(nats|tls):\/\//.test(url) && URL.canParse(url)) return;
  const shown = typeof server === 'string' ? withoutSecrets(server) : server;
  throw ConfigurationError.option(option, shown, 'a nats:// or tls:// URL');
}

function withoutSecrets(url: string): string {
  const [whole = '', scheme = ''] = /^([a-z]+:\/\/)?.*@/is.exec(url) ?? [];
  return whole === '' ? url : `${scheme}***@${url.slice(whole.length)}`;
}
