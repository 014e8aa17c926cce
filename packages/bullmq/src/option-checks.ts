import { ConfigurationError, urlWithoutSecrets } from '@lockstep/core';

const SECRETIVE = /^(redis|postgres)[a-z]*:\/\//i;

/**
 * A client would refuse a malformed URL later, with the whole of it in its error.
 *
 * @throws ConfigurationError naming the option and what of its value is no secret
 */
export function checkUrl(option: string, url: unknown, scheme: RegExp, expected: string): void {
  // Clients take a URL without a host, which `URL` does not where there is a user.
  const isUrl = typeof url === 'string' && scheme.test(url) && URL.canParse(url.replace('@/', '@localhost/'));
  if (!isUrl)
    throw ConfigurationError.option(
      option,
      typeof url === 'string' ? urlWithoutSecrets(url, SECRETIVE) : url,
      expected,
    );
}
