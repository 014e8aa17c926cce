import { ConfigurationError } from '@lockstep/core';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** All that is assigned for the public; whatever else IPv6 has is for special uses. */
const GLOBAL_UNICAST: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];
/** Where the IPv4 address of a translated one stands, in bytes; the local prefixes of RFC 8215 are not the public's. */
const EMBEDDING: readonly (readonly [prefix: [ipaddr.IPv6, number], offset: number])[] = [
  [[ipaddr.IPv6.parse('::ffff:0:0'), 96], 12],
  [[ipaddr.IPv6.parse('::ffff:0:0:0'), 96], 12],
  [[ipaddr.IPv6.parse('64:ff9b::'), 96], 12],
  [[ipaddr.IPv6.parse('2002::'), 16], 2],
];
/** Reach what is inside of a cloud, from its machines alone: WireServer of Azure, with keys and configurations. */
const INSIDE: ReadonlySet<string> = new Set(['168.63.129.16']);
/** Deprecated, and read as another kind of address by the parser. */
const COMPATIBLE = /^::\d+\.\d+\.\d+\.\d+$/;
/** ISATAP: the interface id of an address that a router turns into one of IPv4. */
const ISATAP = new Set(['00005efe', '02005efe']);

/**
 * Decides which addresses may be called: unicast ones of the public internet, in IPv4 or IPv6, and what IPv6 only wraps
 * around such an address. Loopback, private and link-local networks (with the metadata services of clouds), carrier-grade
 * NAT, multicast, and all that is reserved are refused, whichever way they are written.
 */
export class AddressGuard {
  private readonly networks: readonly [Address, number][];
  private readonly hosts: ReadonlySet<string>;

  /**
   * @param allow networks (`10.1.0.0/16`), addresses and host names that are allowed all the same
   * @throws ConfigurationError naming the entry that is none
   */
  constructor(allow: readonly string[], option: string) {
    const networks: [Address, number][] = [];
    const hosts = new Set<string>();
    for (const entry of allow) {
      const network = networkOf(entry);
      if (network) networks.push(network);
      else hosts.add(checkedHost(entry, option));
    }
    this.networks = networks;
    this.hosts = hosts;
  }

  /** A host that is allowed by its name may resolve to anything. */
  allowsHost(host: string): boolean {
    return this.hosts.has(host.toLowerCase());
  }

  /** @param text as the resolver gave it; what is no address is not allowed */
  allowsAddress(text: string): boolean {
    // A zone says through which interface; only link-local addresses have one.
    if (text.includes('%') || COMPATIBLE.test(text) || !ipaddr.isValid(text)) return false;
    const address = ipaddr.parse(text);
    const inner = address.kind() === 'ipv6' ? embedded(address as ipaddr.IPv6) : undefined;
    return this.isListed(address) || (inner !== undefined && this.isListed(inner)) || isPublic(address, inner);
  }

  private isListed(address: Address): boolean {
    return this.networks.some(
      ([network, bits]) => network.kind() === address.kind() && address.match(network as never, bits),
    );
  }
}

function isPublic(address: Address, inner: ipaddr.IPv4 | undefined): boolean {
  const four = address.kind() === 'ipv4' ? (address as ipaddr.IPv4) : inner;
  if (four) return four.range() === 'unicast' && !INSIDE.has(four.toString());
  const six = address as ipaddr.IPv6;
  const interfaceId = Buffer.from(six.toByteArray().slice(8, 12)).toString('hex');
  return six.match(GLOBAL_UNICAST) && six.range() === 'unicast' && !ISATAP.has(interfaceId);
}

function embedded(address: ipaddr.IPv6): ipaddr.IPv4 | undefined {
  const found = EMBEDDING.find(([prefix]) => address.match(prefix));
  return found && new ipaddr.IPv4(address.toByteArray().slice(found[1], found[1] + 4));
}

function networkOf(entry: unknown): [Address, number] | undefined {
  if (typeof entry !== 'string') return undefined;
  if (ipaddr.IPv6.isValidCIDR(entry) || ipaddr.IPv4.isValidCIDRFourPartDecimal(entry)) return ipaddr.parseCIDR(entry);
  if (!ipaddr.IPv6.isValid(entry) && !ipaddr.IPv4.isValidFourPartDecimal(entry)) return undefined;
  const address = ipaddr.parse(entry);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}

function checkedHost(entry: unknown, option: string): string {
  if (typeof entry === 'string' && /^(?=.*[a-z])[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(entry))
    return entry.toLowerCase();
  throw ConfigurationError.option(option, entry, "a network such as '10.1.0.0/16', an address, or the name of a host");
}
