import { setImmediate as nextTurn } from 'node:timers/promises';
import { eventually } from '@lockstep/testing';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { BoundedResolver } from '../../src/notifications/target/bounded-resolver.js';

type Addresses = readonly { readonly address: string; readonly family: number }[];

interface Lookup {
  readonly host: string;
  answer(addresses?: Addresses): void;
  fail(error: Error): void;
}

const ADDRESSES: Addresses = [{ address: '192.0.2.1', family: 4 }];
/** What a thread of the pool is busy with. */
const lookups: Lookup[] = [];

const system = (host: string): Promise<Addresses> =>
  new Promise((resolve, reject) => {
    lookups.push({ host, answer: (addresses = ADDRESSES) => resolve(addresses), fail: reject });
  });

describe("Lookups of the system's resolver", () => {
  beforeEach(() => void lookups.splice(0));
  const resolver = (waitMs = 5_000) => new BoundedResolver(system, waitMs).resolve;
  const hosts = () => lookups.map(({ host }) => host);

  it('never hold more than two threads, however many names hang, and go on in turn', async () => {
    const resolve = resolver();
    const all = ['a', 'b', 'c', 'd'].map((host) => resolve(host));
    await nextTurn();
    expect(hosts()).toEqual(['a', 'b']);
    lookups[1]?.answer();
    expect(await all[1]).toEqual(ADDRESSES);
    await nextTurn();
    expect(hosts()).toEqual(['a', 'b', 'c']);
    lookups[0]?.fail(new Error('ENOTFOUND'));
    await expect(all[0]).rejects.toThrow('ENOTFOUND');
    await nextTurn();
    expect(hosts()).toEqual(['a', 'b', 'c', 'd']);
    for (const { answer } of lookups) answer();
    await Promise.all(all.slice(1));
  });

  it('hold one thread for a name, whoever asks for it, and ask anew for the next attempt', async () => {
    const resolve = resolver();
    const both = [resolve('a'), resolve('a')];
    const other = resolve('b');
    await nextTurn();
    expect(hosts()).toEqual(['a', 'b']);
    for (const { answer } of lookups) answer();
    expect(await Promise.all([...both, other])).toEqual([ADDRESSES, ADDRESSES, ADDRESSES]);
    await nextTurn();
    const again = resolve('a');
    await nextTurn();
    expect(hosts()).toEqual(['a', 'b', 'a']);
    lookups[2]?.answer([]);
    expect(await again).toEqual([]);
  });

  it('leave a thread to the others for names that have hung before', async () => {
    const resolve = resolver(60_000);
    const clock = vi.spyOn(performance, 'now');
    const now = performance.now();
    clock.mockReturnValue(now);
    const hung = ['slow-1', 'slow-2'].map((host) => resolve(host));
    await nextTurn();
    clock.mockReturnValue(now + 10_000);
    for (const { answer } of lookups.splice(0)) answer();
    await Promise.all(hung);
    await nextTurn();
    const all = ['slow-1', 'slow-2', 'quick'].map((host) => resolve(host));
    await nextTurn();
    clock.mockRestore();
    expect(hosts()).toEqual(['slow-1', 'quick']);
    for (let n = 0; n < 3; n += 1) {
      for (const { answer } of lookups) answer();
      await nextTurn();
    }
    await Promise.all(all);
  });

  it('are not made for an attempt that has long been given up', async () => {
    const resolve = resolver(50);
    const hanging = ['a', 'b'].map((host) => resolve(host));
    const late = resolve('c');
    const refused = expect(late).rejects.toThrow('no lookup of c could begin within 50 ms');
    const end = performance.now() + 60;
    await eventually(() => expect(performance.now()).toBeGreaterThan(end));
    for (const { answer } of lookups) answer();
    await Promise.all(hanging);
    await refused;
    expect(hosts()).toEqual(['a', 'b']);
  });
});
