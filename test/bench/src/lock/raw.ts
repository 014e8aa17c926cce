import { createHash, randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { type Locker, type LockLibrary, TTL_MS } from './locker.js';

const COMPARE_AND_DELETE =
  "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
const SHA = createHash('sha1').update(COMPARE_AND_DELETE).digest('hex');
const LONGEST_WAIT_S = 30;

/** The fewest bare commands that lock and unlock safely; no fence, no deadline, no waiting. */
export const rawLock: LockLibrary = {
  name: 'raw',
  open: async ([url]) => {
    const client = await clientWithScript(String(url));
    return {
      hold: async (key, work) => {
        const token = randomUUID();
        if (!(await setFree(client, key, token))) throw new Error(`${key} is taken`);
        await work();
        if (!(await deleteOwn(client, key, token))) throw new Error(`${key} was lost`);
      },
      close: () => quit([client]),
    };
  },
};

/** The same on several servers at once; each half is over as soon as a majority has agreed. */
export const rawQuorum: LockLibrary = {
  name: 'raw',
  open: async (urls) => {
    const clients = await Promise.all(urls.map(clientWithScript));
    return {
      hold: async (key, work) => {
        const token = randomUUID();
        await majority(clients.map((client) => setFree(client, key, token)));
        await work();
        await majority(clients.map((client) => deleteOwn(client, key, token)));
      },
      close: () => quit(clients),
    };
  },
};

/**
 * A token that goes from hand to hand: the one who takes it from the list has the turn and puts it back. The server
 * wakes those who wait in their order. The limit of handing over, and no lock: a holder that dies takes the token along.
 */
export const tokenRing: LockLibrary = {
  name: 'raw',
  open: async ([url]): Promise<Locker> => {
    const client = new Redis(String(url));
    return {
      hold: async (key, work) => {
        if ((await client.blpop(key, LONGEST_WAIT_S)) === null) throw new Error(`${key} went missing`);
        await work();
        await client.rpush(key, 'token');
      },
      close: () => quit([client]),
    };
  },
};

/** Puts the one token of {@link tokenRing} into play. */
export async function dealToken(url: string, key: string): Promise<void> {
  const client = new Redis(url);
  await client.multi().del(key).rpush(key, 'token').exec();
  await client.quit();
}

async function clientWithScript(url: string): Promise<Redis> {
  const client = new Redis(url);
  await client.script('LOAD', COMPARE_AND_DELETE);
  return client;
}

async function setFree(client: Redis, key: string, token: string): Promise<boolean> {
  return (await client.set(key, token, 'PX', TTL_MS, 'NX')) === 'OK';
}

async function deleteOwn(client: Redis, key: string, token: string): Promise<boolean> {
  return (await client.evalsha(SHA, 1, key, token)) === 1;
}

/** Resolves with the vote that makes the majority; rejects when it can no longer be reached. */
function majority(votes: readonly Promise<boolean>[]): Promise<void> {
  const quorum = Math.floor(votes.length / 2) + 1;
  return new Promise((resolve, reject) => {
    let ayes = 0;
    let noes = 0;
    const count = (isAye: boolean): void => {
      if (isAye) ayes += 1;
      else noes += 1;
      if (ayes === quorum) resolve();
      if (noes > votes.length - quorum) reject(new Error('no majority'));
    };
    for (const vote of votes) vote.then(count, () => count(false));
  });
}

async function quit(clients: readonly Redis[]): Promise<void> {
  await Promise.all(clients.map((client) => client.quit()));
}
