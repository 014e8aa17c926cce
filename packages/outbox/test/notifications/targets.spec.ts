import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ConfigurationError } from '@lockstep/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sendWebhook } from '../../src/notifications/delivery/webhook-sender.js';
import { TargetForbiddenError } from '../../src/notifications/notifications.errors.js';
import { AddressGuard } from '../../src/notifications/target/address-guard.js';
import { guardedLookup, type HostResolver } from '../../src/notifications/target/guarded-lookup.js';
import { checkedTarget, type TargetRules } from '../../src/notifications/target/webhook-target.js';

const guardOf = (...allow: string[]) => new AddressGuard(allow, 'targets.allow');
const rulesOf = (rules: Partial<TargetRules> = {}): TargetRules => ({
  allowHttp: false,
  ports: new Set([443]),
  guard: guardOf(),
  ...rules,
});

describe('Addresses', () => {
  it.each([
    ['127.0.0.1', 'loopback'],
    ['127.255.255.254', 'loopback'],
    ['0.0.0.0', 'this host'],
    ['0.1.2.3', 'this network'],
    ['10.0.0.1', 'private'],
    ['172.16.0.1', 'private'],
    ['172.31.255.255', 'private'],
    ['192.168.1.1', 'private'],
    ['100.64.0.1', 'carrier-grade NAT'],
    ['100.127.255.255', 'carrier-grade NAT'],
    ['169.254.169.254', 'metadata of clouds'],
    ['168.63.129.16', 'WireServer of Azure'],
    ['::ffff:168.63.129.16', 'IPv4-mapped WireServer'],
    ['192.0.0.1', 'protocol assignments'],
    ['192.0.2.1', 'documentation'],
    ['192.88.99.1', 'relays of 6to4'],
    ['198.18.0.1', 'benchmarks'],
    ['198.51.100.1', 'documentation'],
    ['203.0.113.1', 'documentation'],
    ['224.0.0.1', 'multicast'],
    ['239.255.255.255', 'multicast'],
    ['240.0.0.1', 'reserved'],
    ['255.255.255.255', 'broadcast'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::127.0.0.1', 'IPv4-compatible'],
    ['::8.8.8.8', 'IPv4-compatible'],
    ['::ffff:127.0.0.1', 'IPv4-mapped loopback'],
    ['::ffff:a9fe:a9fe', 'IPv4-mapped metadata'],
    ['::ffff:0:10.0.0.1', 'IPv4-translated private'],
    ['64:ff9b::a9fe:a9fe', 'NAT64 of metadata'],
    ['64:ff9b::10.0.0.1', 'NAT64 of private'],
    ['64:ff9b:1::8.8.8.8', 'local NAT64'],
    ['2002:7f00:1::', '6to4 of loopback'],
    ['2002:a9fe:a9fe::1', '6to4 of metadata'],
    ['2001:0:4136:e378:8000:63bf:3fff:fdd2', 'Teredo'],
    ['2001:db8::1', 'documentation'],
    ['3fff::1', 'documentation'],
    ['2001:2::1', 'benchmarks'],
    ['2001:20::1', 'ORCHID'],
    ['100::1', 'discard'],
    ['fc00::1', 'unique local'],
    ['fd00:ec2::254', 'metadata of clouds'],
    ['fe80::1', 'link-local'],
    ['fe80::1%eth0', 'link-local with a zone'],
    ['2606:4700::1111%eth0', 'a zone'],
    ['fec0::1', 'site-local'],
    ['ff02::1', 'multicast'],
    ['5f00::1', 'segment routing'],
    ['4000::1', 'not assigned'],
    ['2606:4700::5efe:a00:1', 'ISATAP of private'],
    ['2606:4700::200:5efe:a00:1', 'ISATAP of private'],
    ['nonsense', 'no address'],
    ['', 'no address'],
  ])('%s is refused: %s', (address) => {
    expect(guardOf().allowsAddress(address)).toBe(false);
  });

  it.each([
    '8.8.8.8',
    '1.1.1.1',
    '172.32.0.1',
    '100.128.0.1',
    '192.0.1.1',
    '2606:4700::1111',
    '2a00:1450:4001::1',
    '::ffff:8.8.8.8',
    '64:ff9b::8.8.8.8',
    '2002:808:808::1',
  ])('%s is allowed', (address) => {
    expect(guardOf().allowsAddress(address)).toBe(true);
  });

  it('beyond the public internet are allowed by network and by address, and no others', () => {
    const guard = guardOf('10.1.0.0/16', '127.0.0.1', 'fd00:1::/32');
    const allowed = ['10.1.2.3', '::ffff:10.1.2.3', '127.0.0.1', 'fd00:1::5'];
    expect(allowed.map((address) => guard.allowsAddress(address))).toEqual([true, true, true, true]);
    const refused = ['10.2.0.1', '127.0.0.2', 'fd00:2::5', '::1'];
    expect(refused.map((address) => guard.allowsAddress(address))).toEqual([false, false, false, false]);
  });

  it.each(['', 'a b', '10.0.0.0/99', 'http://x', '-x', '127.1/8'])(
    "are not allowed by '%s', which is refused",
    (entry) => {
      expect(() => guardOf(entry)).toThrow(ConfigurationError);
    },
  );
});

describe('Targets', () => {
  it.each([
    'http://partner.example/',
    'ftp://partner.example/',
    'file:///etc/passwd',
    'javascript:alert(1)',
    'https://user@partner.example/',
    'https://user:secret@partner.example/',
    'https://partner.example:8443/',
    'https://127.0.0.1/',
    'https://127.1/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0x7f.0.0.1/',
    'https://017700000001/',
    'https://0177.0.0.1/',
    'https://127.0.0.1./',
    'https://１２７.０.０.１/',
    'https://①②⑦.0.0.1/',
    'https://169.254.169.254/latest/meta-data',
    'https://2852039166/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/',
    'https://0/',
    'partner.example/hook',
    '/hook',
    `https://partner.example/${'x'.repeat(2_048)}`,
    undefined,
    5,
  ])('%s is refused', (url) => {
    expect(() => checkedTarget(url, rulesOf())).toThrow(TargetForbiddenError);
  });

  it('are taken as they will be called, without what is not sent', () => {
    expect(checkedTarget('HTTPS://Partner.Example:443/Hook?a=1#part', rulesOf()).href).toBe(
      'https://partner.example/Hook?a=1',
    );
    const rules = rulesOf({ allowHttp: true, ports: undefined });
    expect(checkedTarget('http://partner.example:8080/', rules).port).toBe('8080');
    // A line break in it would be a header of its own.
    expect(checkedTarget('https://partner.example/a\r\nX-Evil:%201', rulesOf()).href).not.toMatch(/[\r\n]/);
  });
});

describe('A connection', () => {
  let port = 0;
  let calls = 0;
  const server = createServer((_request, response) => {
    calls += 1;
    response.end();
  });
  beforeEach(async () => {
    calls = 0;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  });
  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  const call = (resolve: HostResolver, guard: AddressGuard, host = 'partner.example') =>
    sendWebhook({
      target: new URL(`http://${host}:${port}/`),
      headers: {},
      body: '{}',
      timeoutMs: 2_000,
      lookup: guardedLookup(resolve, guard),
      signal: new AbortController().signal,
    });
  const at =
    (...addresses: string[]): HostResolver =>
    async () =>
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

  it('goes to the address that was checked, however the name resolves the next time', async () => {
    const answers = [['127.0.0.1'], ['169.254.169.254']];
    let lookups = 0;
    const resolve: HostResolver = async (host) => {
      lookups += 1;
      return at(...(answers.shift() ?? []))(host);
    };
    const guard = guardOf('127.0.0.1');
    await call(resolve, guard);
    expect([calls, lookups]).toEqual([1, 1]);
    await expect(call(resolve, guard)).rejects.toThrow(TargetForbiddenError);
    expect([calls, lookups]).toEqual([1, 2]);
  });

  it('is not made where one of the addresses is forbidden, or there is none', async () => {
    await expect(call(at('127.0.0.1', '10.0.0.1'), guardOf('127.0.0.1'))).rejects.toThrow(TargetForbiddenError);
    await expect(call(at('127.0.0.1'), guardOf())).rejects.toThrow(TargetForbiddenError);
    await expect(call(at('::ffff:127.0.0.1'), guardOf())).rejects.toThrow(TargetForbiddenError);
    await expect(call(at(), guardOf())).rejects.toThrow('no address');
    expect(calls).toBe(0);
  });

  it('is made to whatever a host resolves to that is allowed by its name', async () => {
    await call(at('127.0.0.1'), guardOf('Partner.example'));
    await expect(call(at('127.0.0.1'), guardOf('partner.example'), 'evil.partner.example')).rejects.toThrow();
    expect(calls).toBe(1);
  });

  it('is given up when the name does not resolve in time', async () => {
    const hanging = sendWebhook({
      target: new URL('http://partner.example/'),
      headers: {},
      body: '{}',
      timeoutMs: 50,
      lookup: guardedLookup(() => new Promise(() => undefined), guardOf()),
      signal: new AbortController().signal,
    });
    await expect(hanging).rejects.toThrow('no answer within 50 ms');
  });
});
