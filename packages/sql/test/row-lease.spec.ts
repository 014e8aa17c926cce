import 'reflect-metadata';
import { type RowLease, RowLeases } from '@lockstep/sql';
import { eventually, seed, seededRandom, spawnNode, startFaultProxy } from '@lockstep/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type SqlApplication, startSql } from './support/sql-application.js';
import { TEST_SERVERS } from './support/test-servers.js';

const TTL_MS = 5_000;

describe.each(TEST_SERVERS)('RowLeases on $name', (server) => {
  const database = server.use();
  let application: SqlApplication;
  let leases: RowLeases;
  let name = '';
  let number = 0;

  beforeAll(async () => {
    application = await startSql({ url: database.url });
    leases = application.app.get(RowLeases);
  });
  afterAll(() => application.app.close());
  beforeEach(() => {
    number += 1;
    name = `shard ${number}`;
  });

  const acquire = async (ttlMs = TTL_MS) => {
    const lease = await leases.tryAcquire(name, ttlMs);
    if (!lease) throw new Error(`${name} is taken`);
    return lease;
  };

  it('give a name to one owner at a time, however many try at once', async () => {
    const tries = await Promise.all(Array.from({ length: 20 }, () => leases.tryAcquire(name, TTL_MS)));
    expect(tries.filter((lease) => lease?.isHeld())).toHaveLength(1);
    expect(tries.filter((lease) => lease === undefined)).toHaveLength(19);
  });

  it('let one of many take an expired lease over, in one step', async () => {
    const first = await acquire(100);
    await eventually(() => expect(first.isHeld()).toBe(false));
    const taken = await eventually(async () => {
      const tries = await Promise.all(Array.from({ length: 20 }, () => leases.tryAcquire(name, 10_000)));
      const winners = tries.filter((lease) => lease !== undefined);
      expect(winners).toHaveLength(1);
      return winners[0];
    });
    expect(taken?.epoch).toBe(first.epoch + 1n);
  });

  it('raise the epoch with every change of owner: after expiry, after release, never back', async () => {
    const epochs: bigint[] = [];
    const first = await acquire(60);
    epochs.push(first.epoch);
    const second = await eventually(() => acquire());
    epochs.push(second.epoch);
    await second.release();
    const third = await acquire();
    epochs.push(third.epoch);
    expect(epochs).toEqual([1n, 2n, 3n]);
    expect(third.owner).not.toBe(second.owner);
  });

  it('keep the epoch through renewals, which hold the lease beyond its first time', async () => {
    const lease = await acquire(1_000);
    const startedAt = performance.now();
    while (performance.now() - startedAt < 1_500) {
      expect(await lease.renew()).toBe(true);
      expect(lease.isHeld()).toBe(true);
      expect(await leases.tryAcquire(name, TTL_MS)).toBeUndefined();
    }
    expect(lease.epoch).toBe(1n);
  });

  it('refuse the renewal of a lease that somebody else has, and do not touch it by release', async () => {
    const first = await acquire(60);
    const second = await eventually(() => acquire(5_000));
    expect(await first.renew()).toBe(false);
    await first.release();
    expect(await second.renew()).toBe(true);
    expect(await leases.tryAcquire(name, TTL_MS)).toBeUndefined();
  });

  it('refuse the renewal of a lease that has expired, even if nobody has taken it', async () => {
    const lease = await acquire(60);
    // By the server's clock, which is the later one.
    const live = `SELECT 1 FROM lockstep_lease WHERE name = $1 AND lease_until > ${server.now}`;
    await eventually(async () => expect(await application.sql.query(live, [name])).toEqual([]));
    expect(await lease.renew()).toBe(false);
    expect(lease.isHeld()).toBe(false);
  });

  it('end with release: not held here, free for others at once', async () => {
    const lease = await acquire(10_000);
    await lease.release();
    expect(lease.isHeld()).toBe(false);
    expect(await lease.renew()).toBe(false);
    expect(await acquire()).toBeDefined();
  });

  it('count the local time from before the statement was sent, so that a slow answer shortens it', async () => {
    const proxy = await startFaultProxy({ target: database.url });
    const slow = await startSql({ url: proxy.urlFor(database.url) });
    const slowLeases = slow.app.get(RowLeases);
    await slowLeases.prepare();
    proxy.delay(400, 'toClient');
    const lease = await slowLeases.tryAcquire(name, 300);
    expect(lease).toBeDefined();
    expect(lease?.isHeld()).toBe(false);
    await slow.app.close();
    await proxy.stop();
  });

  it('take over from a process that stands still, which learns of it when it goes on', async () => {
    const entry = new URL('./support/lease-process.mjs', import.meta.url);
    await using holder = spawnNode(entry, { args: [database.url, name, '500'] });
    const taken = await holder.waitForMessage((message) => typeof message === 'object', 30_000);
    expect(taken).toEqual({ epoch: '1' });
    holder.sigstop();
    const successor = await eventually(() => acquire(20_000));
    expect(successor.epoch).toBe(2n);
    holder.sigcont();
    holder.send('renew');
    const answer = await holder.waitForMessage(
      (message) => typeof message === 'object' && message !== null && 'held' in message,
    );
    expect(answer).toEqual({ held: false, renewed: false, heldAfterwards: false });
    expect(await successor.renew()).toBe(true);
  }, 60_000);

  it('never have two live owners, nor an epoch twice, under random acquisitions, renewals, releases and stalls', async () => {
    const random = seededRandom(seed());
    const granted: RowLease[] = [];
    const epochs: bigint[] = [];
    const work = async (): Promise<void> => {
      while (epochs.length < 25) {
        const lease = await leases.tryAcquire(name, random.integer(50, 120));
        if (!lease) continue;
        granted.push(lease);
        epochs.push(lease.epoch);
        expect(granted.filter((each) => each.isHeld()).length).toBeLessThanOrEqual(1);
        while (random.next() < 0.7) await lease.renew();
        // Whoever does not release stands still until others take over.
        if (random.next() < 0.5) await lease.release();
      }
    };
    await Promise.all(Array.from({ length: 4 }, work));
    expect(new Set(epochs).size).toBe(epochs.length);
  });

  it('tell names apart that differ in a space or in case', async () => {
    const names = ['shard a', 'shard A', 'shard a ', 'shard á'];
    const taken = await Promise.all(names.map((each) => leases.tryAcquire(each, TTL_MS)));
    expect(taken.map((lease) => lease?.epoch)).toEqual([1n, 1n, 1n, 1n]);
  });

  it('refuse names and times that are out of bounds', async () => {
    await expect(leases.tryAcquire('', TTL_MS)).rejects.toThrow(/'name'/);
    await expect(leases.tryAcquire('x'.repeat(201), TTL_MS)).rejects.toThrow(/'name'/);
    await expect(leases.tryAcquire(name, 1)).rejects.toThrow(/'ttlMs'/);
  });
});
