import { ConfigurationError } from '@lockstep/core';

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Names the keys of an object and not its values: where a client is expected, people pass settings with a password. */
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
 * A client would refuse a malformed URL later, with the whole of it in its error.
 *
 * @throws ConfigurationError naming the option and what of its value is no secret
 */
export function checkUrl(option: string, url: unknown, scheme: RegExp, expected: string): void {
  // Clients take a URL without a host, which `URL` does not where there is a user.
  const isUrl = typeof url === 'string' && scheme.test(url) && URL.canParse(url.replace('@/', '@localhost/'));
  if (!isUrl) throw ConfigurationError.option(option, typeof url === 'string' ? withoutSecrets(url) : url, expected);
}

function withoutSecrets(url: string): string {
  const [whole = '', scheme = ''] = /^([a-z]+:\/\/)?.*@/is.exec(url) ?? [];
  const rest = url.slice(whole.length).replace(/\?.*/s, '?***');
  if (whole !== '') return `${scheme}***@${rest}`;
  // Who forgot the @ may have forgotten what belongs before it.
  return /^(redis|postgres)[a-z]*:\/\//i.test(url) ? `${url.slice(0, url.indexOf('//'))}//***` : rest;
}
