import { isIP } from 'node:net';
import { TargetForbiddenError } from '../notifications.errors.js';
import type { AddressGuard } from './address-guard.js';

export interface TargetRules {
  readonly allowHttp: boolean;
  /** Undefined allows every port. */
  readonly ports: ReadonlySet<number> | undefined;
  readonly guard: AddressGuard;
}

const MAX_URL_CHARS = 2_048;

/**
 * The URL as it will be called. Every way of writing an IPv4 address (`0x7f.1`, `2130706433`, `017700000001`) is a dotted
 * one after parsing, so that it is checked as what it is.
 *
 * @throws TargetForbiddenError saying what is not allowed about it
 */
export function checkedTarget(url: unknown, rules: TargetRules): URL {
  if (typeof url !== 'string' || url.length > MAX_URL_CHARS || !URL.canParse(url)) {
    throw new TargetForbiddenError(`it is no URL of at most ${MAX_URL_CHARS} characters`);
  }
  const target = new URL(url);
  target.hash = '';
  if (target.protocol !== 'https:' && !(rules.allowHttp && target.protocol === 'http:')) {
    throw new TargetForbiddenError(`its scheme is not ${rules.allowHttp ? 'http or https' : 'https'}`);
  }
  if (target.username !== '' || target.password !== '') throw new TargetForbiddenError('it contains credentials');
  if (rules.ports && !rules.ports.has(portOf(target))) {
    throw new TargetForbiddenError(`port ${portOf(target)} is not allowed`);
  }
  const literal = literalAddress(target);
  if (literal !== undefined && !rules.guard.allowsAddress(literal)) {
    throw new TargetForbiddenError('its address is none of the public internet');
  }
  return target;
}

/** The address, where the host is one and nothing is resolved; without the brackets of IPv6. */
export function literalAddress({ hostname }: URL): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return isIP(bare) === 0 ? undefined : bare;
}

function portOf({ port, protocol }: URL): number {
  if (port !== '') return Number(port);
  return protocol === 'https:' ? 443 : 80;
}
