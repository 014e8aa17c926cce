import { monotonicMs } from '@lockstep/core';
import type { ACL, Client, Event, Exception, Stat } from 'node-zookeeper-client';

/** Codes of ZooKeeper's protocol. */
export const ZK = {
  connectionLoss: -4,
  operationTimeout: -7,
  noNode: -101,
  noChildrenForEphemerals: -108,
  nodeExists: -110,
  notEmpty: -111,
  sessionExpired: -112,
  authFailed: -115,
} as const;

/** Kinds of nodes, as the protocol numbers them. */
export const PERSISTENT = 0;
export const EPHEMERAL = 1;
export const EPHEMERAL_SEQUENTIAL = 3;

const NO_ANSWER: ReadonlySet<number> = new Set([
  ZK.connectionLoss,
  ZK.operationTimeout,
  ZK.sessionExpired,
  ZK.authFailed,
]);

export interface NodeContent {
  readonly data: string;
  readonly stat: Stat;
}

type Done<T> = (error: Error | Exception | null, value?: T) => void;

/** The code that ZooKeeper or its client gave an error; undefined for any other error. */
export function codeOf(error: unknown): number | undefined {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'number' ? code : undefined;
}

function isSilence(error: unknown): boolean {
  const code = codeOf(error);
  return code === undefined || NO_ANSWER.has(code);
}

/** Resolves to undefined when the error has one of the codes. */
export async function tolerating<T>(codes: readonly number[], work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (codes.includes(codeOf(error) ?? 0)) return undefined;
    throw error;
  }
}

/**
 * The operations of one client as promises. Requests are executed in the order of the calls, also those that were not
 * awaited. Those of a client that is down stay unsettled until it is up again or {@link end} is called.
 */
export class ZooKeeperConnection {
  private readonly outstanding = new Set<(reason: Error) => void>();
  private ended: Error | undefined;

  constructor(
    private readonly client: Client,
    private readonly acls: readonly ACL[] | undefined,
    /** An answer that the leader knows of came to what was sent at `sentAt`; a follower alone can answer reads. */
    private readonly onLeaderAnswer: (sentAt: number) => void,
    private readonly onExpired: () => void,
  ) {}

  /** @returns the path, with its number when the mode is sequential */
  create(path: string, data: string, mode: number): Promise<string> {
    return this.ask(true, (done: Done<string>) => {
      if (this.acls) this.client.create(path, Buffer.from(data), [...this.acls], mode, done);
      else this.client.create(path, Buffer.from(data), mode, done);
    });
  }

  remove(path: string): Promise<void> {
    return this.ask(true, (done: Done<void>) => this.client.remove(path, done));
  }

  children(path: string): Promise<string[]> {
    return this.ask(false, (done: Done<string[]>) => this.client.getChildren(path, done));
  }

  /** @param watcher called once when the node has changed or is gone; never when there is no such node */
  read(path: string, watcher?: (event: Event) => void): Promise<NodeContent> {
    return this.ask(false, (done: Done<NodeContent>) => {
      const take = (error: Error | Exception | null, data: Buffer | undefined, stat: Stat): void =>
        done(error, { data: data?.toString() ?? '', stat });
      if (watcher) this.client.getData(path, watcher, take);
      else this.client.getData(path, take);
    });
  }

  /** All of it or nothing. */
  createBoth(paths: readonly string[], data: string): Promise<void> {
    const transaction = this.client.transaction();
    const acls = this.acls ? [[...this.acls]] : [];
    for (const path of paths) transaction.create(path, Buffer.from(data), ...acls, EPHEMERAL);
    return this.ask(true, (done: Done<void>) => transaction.commit((error) => done(error)));
  }

  /** All of it or nothing. */
  removeBoth(paths: readonly string[]): Promise<void> {
    const transaction = this.client.transaction();
    for (const path of paths) transaction.remove(path);
    return this.ask(true, (done: Done<void>) => transaction.commit((error) => done(error)));
  }

  /**
   * Changes nothing and is answered by the quorum only: the client has no `sync`, and a read is answered by a follower
   * that the leader has lost. Every change that was made before it is seen before its answer.
   */
  async confirm(): Promise<void> {
    try {
      await this.ask(true, (done: Done<void>) => {
        this.client
          .transaction()
          .check('/')
          .commit((error) => done(error));
      });
    } catch (error) {
      // A refusal is an answer too.
      if (isSilence(error)) throw error;
    }
  }

  /** Fails what is unsettled and all that comes. */
  end(reason: Error): void {
    this.ended = reason;
    for (const reject of [...this.outstanding]) reject(reason);
    this.outstanding.clear();
  }

  private ask<T>(isLeaders: boolean, send: (done: Done<T>) => void): Promise<T> {
    if (this.ended) return Promise.reject(this.ended);
    const sentAt = monotonicMs();
    return new Promise<T>((resolve, reject) => {
      this.outstanding.add(reject);
      send((error, value) => {
        this.outstanding.delete(reject);
        const code = error ? (codeOf(error) ?? 0) : 0;
        if (isLeaders && !NO_ANSWER.has(code)) this.onLeaderAnswer(sentAt);
        if (code === ZK.sessionExpired) this.onExpired();
        if (error) reject(error);
        else resolve(value as T);
      });
    });
  }
}
