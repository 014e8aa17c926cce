import { ConfigurationError } from '../errors/configuration.error.js';

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

/** @param schemes of URLs that carry secrets: `/^redis:\/\//i` */
export function urlWithoutSecrets(url: string, schemes: RegExp): string {
  const [whole = '', scheme = ''] = /^([a-z]+:\/\/)?.*@/is.exec(url) ?? [];
  const rest = url.slice(whole.length).replace(/\?.*/s, '?***');
  if (whole !== '') return `${scheme}***@${rest}`;
  // Who forgot the @ may have forgotten what belongs before it.
  return schemes.test(url) ? `${url.slice(0, url.indexOf('//'))}//***` : rest;
}

/**
 * A name that is mistyped would leave its default in force without a word.
 *
 * @throws ConfigurationError naming it; not its value, which may be a secret
 */
export function checkKnown(value: unknown, option: string, names: readonly string[]): void {
  if (!isObject(value)) throw wrongShape(option, value, `an object with ${names.join(', ')}`);
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  throw new ConfigurationError(
    `Option '${option}.${unknown}' is not known; there is no option but ${names.join(', ')}.`,
  );
}

/** @throws ConfigurationError naming the option and its value */
export function checkedSwitch(option: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw ConfigurationError.option(option, value, 'true or false');
  return value;
}
