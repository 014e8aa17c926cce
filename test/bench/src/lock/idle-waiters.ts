import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { LockService } from '@lockstep/lock';
import { eventually, redisCommandCounter } from '@lockstep/testing';
import { Redis } from 'ioredis';
import { keyOf } from './locker.js';
import { lockApplication } from './ours.js';

export interface IdleLoad {
  /** Each an application with its own connections. */
  readonly waiters: number;
  readonly leaseMs: number;
  readonly watchedMs: number;
}

const KEY = keyOf('idle-waiters', 0);
/** Without a command for so long, all have asked and settled down to wait. */
const QUIET_MS = 500;

/** How many commands clients send while they wait for a lock that is held and stays held. */
export async function idleWaiters(url: string, { waiters, leaseMs, watchedMs }: IdleLoad): Promise<number> {
  const holder = await lockApplication(url);
  const lease = await holder.get(LockService).acquire(KEY, { ttl: leaseMs });
  const others = await addresses(url);
  const apps = await Promise.all(Array.from({ length: waiters }, () => lockApplication(url)));
  const enough = new AbortController();
  setMaxListeners(waiters, enough.signal);
  const options = { wait: leaseMs, signal: enough.signal };
  const waits = Promise.allSettled(apps.map((app) => app.get(LockService).acquire(KEY, options)));
  try {
    await quiet(url);
    const theirs = (await addresses(url)).filter((address) => !others.includes(address));
    const sent = await commandsOf(theirs, url, watchedMs);
    enough.abort();
    const ended = (await waits).filter((end) => end.status === 'fulfilled' || end.reason !== enough.signal.reason);
    if (ended.length > 0) throw new Error(`${ended.length} of ${waiters} did not wait`);
    return sent;
  } finally {
    enough.abort();
    await waits;
    await lease.release();
    await Promise.all([holder, ...apps].map((app) => app.close()));
  }
}

async function commandsOf(clients: readonly string[], url: string, watchedMs: number): Promise<number> {
  const counter = await redisCommandCounter(url, { clients });
  try {
    await pause(watchedMs);
    return (await counter.commands()).length;
  } finally {
    counter.stop();
  }
}

async function quiet(url: string): Promise<void> {
  const counter = await redisCommandCounter(url);
  const nothingSent = async (): Promise<void> => {
    await counter.reset();
    await pause(QUIET_MS);
    const sent = await counter.commands();
    if (sent.length > 0) throw new Error(`still sending ${sent.join(' ')}`);
  };
  try {
    await eventually(nothingSent, { timeoutMs: 10_000, message: 'The waiters do not settle down' });
  } finally {
    counter.stop();
  }
}

/** The clients' ends of all connections but this one. */
async function addresses(url: string): Promise<string[]> {
  const client = new Redis(url);
  try {
    const own = String(await client.client('ID'));
    const lines = String(await client.client('LIST'))
      .trim()
      .split('\n');
    const others = lines.filter((line) => !line.startsWith(`id=${own} `));
    return others.map((line) => / addr=(\S+)/.exec(line)?.[1] ?? '');
  } finally {
    await client.quit();
  }
}
