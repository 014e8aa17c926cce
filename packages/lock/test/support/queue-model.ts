import { randomUUID } from 'node:crypto';
import type { RedisConnection } from '@lockstep/redis';
import { type Actor, eventually } from '@lockstep/testing';
import type { RawQueue } from './raw-scripts.js';
import { endLease, lockKey, storedLock } from './stored-lock.js';

/** One wish, as its process knows it. */
interface Wish {
  readonly token: string;
  readonly process: string;
  /** Server time of its first coming in µs; 0 before. */
  since: number;
  state: 'waiting' | 'holding' | 'cancelled' | 'crashed' | 'done';
}

/** The scripts of a lock with its queue, called as several processes would, and what must stay true. */
export class QueueModel {
  readonly key = randomUUID();
  private readonly wishes: Wish[] = [];
  private readonly processes = new Map<string, { readonly name: string; leave(): Promise<void> }>();
  private owner: string | undefined;
  private lastFence = 0n;
  /** The end of the lease is what wakes those who wait. */
  private hasLapsed = false;
  /** Held for a moment and lost by the end of the lease: nobody's waiters until they ask again. */
  private readonly lapsed = new Set<string>();
  /** Told to ask again, which is as good as a request on its way. */
  private readonly told = new Set<string>();

  constructor(
    private readonly redis: RedisConnection,
    private readonly scripts: RawQueue,
    private readonly foreignKey: string,
  ) {}

  async open(names: readonly string[]): Promise<this> {
    for (const name of names) {
      const process = `${name}${randomUUID()}`;
      const leave = await this.redis.subscribe(`${this.scripts.channel}${process}`, (message) => {
        this.told.add(message.split(',')[0] ?? '');
      });
      this.processes.set(name, { name: process, leave });
    }
    return this;
  }

  async close(): Promise<void> {
    for (const { leave } of this.processes.values()) await leave();
  }

  /** Its connections are gone: nobody hears its channel any longer. */
  async crash(name: string): Promise<void> {
    const process = this.processes.get(name);
    await process?.leave();
    for (const wish of this.wishes) if (wish.process === process?.name) wish.state = 'crashed';
  }

  /** Comes, asks again as if its timer had fired, and releases what it got. */
  patient(name: string): Actor {
    return async (step) => {
      for (const round of [1, 2]) {
        await step(`acquire ${round}`);
        const wish = await this.come(name);
        for (const poke of [1, 2]) {
          await step(`poke ${round}.${poke}`);
          await this.ask(wish);
        }
        await step(`release ${round}`);
        if (wish.state === 'holding') await this.release(wish, 'done');
      }
    };
  }

  /** Comes, gives up, and comes with another token. */
  fickle(name: string): Actor {
    return async (step) => {
      await step('acquire 1');
      const first = await this.come(name);
      await step('cancel');
      await this.release(first, 'cancelled');
      await step('acquire 2');
      const second = await this.come(name);
      await step('poke');
      await this.ask(second);
      await step('release');
      await this.release(second, 'done');
    };
  }

  clock(): Actor {
    return async (step) => {
      for (const round of [1, 2]) {
        await step(`the lease ends ${round}`);
        await endLease(this.redis, this.key);
        this.hasLapsed = true;
      }
    };
  }

  /** Whatever has happened: one that lives gets the lock, and all get it in the order of their coming. */
  async drain(): Promise<void> {
    await endLease(this.redis, this.key);
    this.hasLapsed = true;
    await this.check();
    for (let left = this.wishes.length; this.alive().length > 0; left -= 1) {
      if (left < 0) throw new Error('they never come to an end');
      for (const wish of this.alive()) await this.ask(wish);
      await this.check();
      const first = this.alive().find(({ token }) => token === this.owner);
      if (!first) throw new Error('nobody got the lock, and somebody wants it');
      await this.release(first, 'done');
      await this.check();
    }
  }

  async check(): Promise<void> {
    const stored = await storedLock(this.redis, this.key);
    if (!stored) return;
    const isHeld = stored.token !== '' && stored.leaseEnd > this.redis.serverTimeMs() - 1_000;
    const owner = isHeld ? stored.token : undefined;
    const queue = stored.queue.split(';').map((record) => record.split(',')[0]);
    for (const { token } of this.waiting()) if (token !== owner && !queue.includes(token)) await this.awaitTold(token);
    this.noteOwner(owner, BigInt(stored.fence));
    if (this.owner === undefined && this.waiting().length > 0 && !this.hasLapsed) {
      throw new Error('the lock is free, and nobody is woken for it');
    }
  }

  /** Whoever is left out, because its process was silent, must hear of it. */
  private async awaitTold(token: string): Promise<void> {
    await eventually(() => {
      if (!this.told.has(token)) throw new Error(`${token} waits, and the server does not know of it`);
    });
    this.lapsed.add(token);
  }

  private noteOwner(owner: string | undefined, fence: bigint): void {
    if (owner === this.owner) {
      if (owner !== undefined && fence !== this.lastFence) throw new Error(`${owner} has two fences`);
      return;
    }
    const before = this.wishes.find(({ token }) => token === this.owner);
    if (before && (before.state === 'waiting' || before.state === 'holding')) {
      if (!this.hasLapsed) throw new Error(`${before.token} lost the lock to ${owner ?? 'nobody'} while it had it`);
      this.lapsed.add(before.token);
    }
    this.owner = owner;
    if (owner === undefined) return;
    const now = this.wishes.find(({ token }) => token === owner);
    if (!now || now.state === 'cancelled' || now.state === 'done') throw new Error(`${owner} owns what it gave up`);
    if (fence <= this.lastFence) throw new Error(`fence ${fence} after ${this.lastFence}`);
    const overtaken = this.waiting().find(({ since }) => since < now.since);
    if (overtaken) throw new Error(`${owner} came before its turn, ahead of ${overtaken.token}`);
    this.lastFence = fence;
    this.hasLapsed = false;
  }

  private async come(name: string): Promise<Wish> {
    const process = this.processes.get(name)?.name ?? '';
    const wish: Wish = { token: `${name}${randomUUID()}`, process, since: 0, state: 'waiting' };
    this.wishes.push(wish);
    await this.ask(wish);
    return wish;
  }

  /** In a command with another call that must fail alone. */
  private async ask(wish: Wish): Promise<void> {
    const { token, process, since } = wish;
    if (wish.state !== 'waiting' && wish.state !== 'holding') return;
    const nowMs = Math.round(this.redis.serverTimeMs());
    const request = { token, wish: `1,f,${since},${process},${nowMs + 60_000}`, notAfterMs: nowMs + 10_000 };
    const [mine, foreign] = await Promise.allSettled([
      this.scripts.acquire.run({ ...request, lock: lockKey(this.redis, this.key) }),
      this.scripts.acquire.run({ ...request, lock: this.foreignKey }),
    ]);
    if (foreign.status !== 'rejected') throw new Error('a key of another kind was locked');
    if (mine.status !== 'fulfilled') throw mine.reason;
    const { reply, serverMs } = mine.value;
    if (wish.since === 0) wish.since = Math.round(serverMs * 1_000);
    const isOwner = token === this.owner && !this.hasLapsed;
    if (isOwner && BigInt(reply) !== this.lastFence) throw new Error(`${token} asked again and got ${reply}`);
    this.lapsed.delete(token);
    this.told.delete(token);
    wish.state = reply > 0 ? 'holding' : 'waiting';
  }

  private async release(wish: Wish, state: 'done' | 'cancelled'): Promise<void> {
    wish.state = state;
    await this.scripts.release.run({ lock: lockKey(this.redis, this.key), token: wish.token });
  }

  private alive(): Wish[] {
    return this.wishes
      .filter(({ state }) => state === 'waiting' || state === 'holding')
      .sort((one, other) => one.since - other.since);
  }

  /** Those whom the server must know of: alive, without the lock, and not about to ask again anyway. */
  private waiting(): Wish[] {
    return this.alive().filter(({ token }) => token !== this.owner && !this.lapsed.has(token));
  }
}
