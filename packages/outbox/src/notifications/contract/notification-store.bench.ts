import { randomBytes } from 'node:crypto';
import type { SqlTransaction } from '@lockstep/sql';
import { v7 as uuidv7 } from 'uuid';
import type {
  AppendOutcome,
  ClaimedNotification,
  EndpointSeen,
  Lane,
  NotificationRecord,
  NotificationStore,
} from '../notification-store.js';

export interface NotificationStoreEnds {
  readonly store: NotificationStore;
  /** Runs `fn` in a transaction that the store can join, with savepoints. */
  transaction<T>(fn: (tx: SqlTransaction) => Promise<T>): Promise<T>;
  dispose(): Promise<void>;
}

export const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const SECRETS = [{ secret: SECRET, until: undefined }];

/** A store with an endpoint and shortcuts for what the tests do all the time. */
export class NotificationBench {
  readonly store: NotificationStore;
  readonly endpoint = `partner-${randomBytes(5).toString('hex')}`;
  readonly transaction: NotificationStoreEnds['transaction'];

  constructor(ends: NotificationStoreEnds) {
    this.store = ends.store;
    this.transaction = (fn) => ends.transaction(fn);
  }

  register(id = this.endpoint): Promise<boolean> {
    return this.store.endpoints.write({ id, url: 'https://partner.example/hook', secrets: SECRETS, version: 0 });
  }

  record(init: Partial<NotificationRecord> = {}): NotificationRecord {
    const { endpoint } = this;
    return { id: uuidv7(), endpoint, url: undefined, type: 'order.shipped', body: '{"n":1}', delayMs: 0, ...init };
  }

  /** Appends in one transaction; gives the id. */
  async append(init: Partial<NotificationRecord> = {}): Promise<string> {
    const record = this.record(init);
    await this.transaction((tx) => this.store.append(tx, record));
    return record.id;
  }

  outcomeOf(record: NotificationRecord): Promise<AppendOutcome> {
    return this.transaction((tx) => this.store.append(tx, record));
  }

  async lane(endpoint = this.endpoint): Promise<Lane | undefined> {
    return (await this.store.lanes(1_000)).find((lane) => lane.endpoint === endpoint);
  }

  claim(limit = 10, leaseMs = 60_000, endpoint = this.endpoint): Promise<readonly ClaimedNotification[]> {
    return this.store.claim({ endpoint, limit, leaseMs });
  }

  /** The one that is due. */
  async claimOne(leaseMs = 60_000): Promise<ClaimedNotification> {
    const [first, second] = await this.claim(2, leaseMs);
    if (!first || second) throw new Error('exactly one should be due');
    return first;
  }

  async state(id: string): Promise<string | undefined> {
    return (await this.store.operations.find(id))?.state;
  }

  seen(init: Partial<EndpointSeen> = {}): EndpointSeen {
    return { endpoint: this.endpoint, url: undefined, version: 1, ...init };
  }

  failed(disableAfterMs: number, gapMs = 60_000): Promise<boolean> {
    return this.store.endpoints.failed({ ...this.seen(), gapMs, disableAfterMs });
  }
}

export type Bench = () => NotificationBench;

export function idsOf(notifications: readonly { readonly id: string }[]): string[] {
  return notifications.map(({ id }) => id);
}
