import { lookup } from 'node:dns/promises';
import type { LookupFunction } from 'node:net';
import { TargetForbiddenError } from '../notifications.errors.js';
import type { AddressGuard } from './address-guard.js';

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

/** All addresses of a host; rejects where it has none. */
export type HostResolver = (host: string) => Promise<readonly ResolvedAddress[]>;

export const systemResolver: HostResolver = (host) => lookup(host, { all: true });

/**
 * Resolves for `net.connect` and gives it nothing but addresses that were checked: what is connected to is what was looked
 * at, and a name that answers differently the next time gains nothing. A name with a forbidden address among others is
 * refused as a whole, or who owns it could choose by the order.
 */
export function guardedLookup(resolve: HostResolver, guard: AddressGuard): LookupFunction {
  return (host, options, callback) => {
    checkedAddresses(host, resolve, guard).then(
      (addresses) => {
        const [first] = addresses;
        // In a turn of its own: an exception of the callback is not this promise's.
        process.nextTick(() => {
          if (options.all) callback(null, addresses as ResolvedAddress[]);
          else callback(null, first?.address ?? '', first?.family ?? 0);
        });
      },
      (error: NodeJS.ErrnoException) => process.nextTick(() => callback(error, '', 0)),
    );
  };
}

async function checkedAddresses(
  host: string,
  resolve: HostResolver,
  guard: AddressGuard,
): Promise<readonly ResolvedAddress[]> {
  const addresses = await resolve(host);
  if (addresses.length === 0) throw new Error(`${host} has no address`);
  if (guard.allowsHost(host)) return addresses;
  const forbidden = addresses.find(({ address }) => !guard.allowsAddress(address));
  if (!forbidden) return addresses;
  throw new TargetForbiddenError(`${host} resolves to ${forbidden.address}, which is none of the public internet`);
}
