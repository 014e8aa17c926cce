import { randomBytes } from 'node:crypto';
import { ConfigurationError } from '@lockstep/core';

const PREFIX = 'whsec_';
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
const MIN_BYTES = 24;
const MAX_BYTES = 64;
const NEW_BYTES = 32;

/** `whsec_` and 32 random bytes. */
export function newWebhookSecret(): string {
  return PREFIX + randomBytes(NEW_BYTES).toString('base64');
}

/** The bytes to sign with; undefined when the text is no secret. */
export function secretKey(secret: unknown): Buffer | undefined {
  if (typeof secret !== 'string' || !secret.startsWith(PREFIX)) return undefined;
  const text = secret.slice(PREFIX.length);
  if (!BASE64.test(text)) return undefined;
  const key = Buffer.from(text, 'base64');
  // Buffer ignores what it cannot read; a secret that was cut would be another one in every other library.
  if (key.toString('base64') !== text || key.length < MIN_BYTES || key.length > MAX_BYTES) return undefined;
  return key;
}

/** @throws ConfigurationError naming the option and not the value */
export function checkedSecret(secret: unknown, option: string): string {
  if (secretKey(secret)) return secret as string;
  throw new ConfigurationError(
    `Option '${option}' is no secret of Standard Webhooks; expected '${PREFIX}' and the base64 of ${MIN_BYTES} to ${MAX_BYTES} bytes.`,
  );
}
