import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash, randomBytes } from 'node:crypto';
import { ConfigurationError, type DriverProvider, Incidents } from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import { OUTBOX_OPTIONS, type ResolvedOutboxOptions } from '../../outbox.options.js';
import type { RelaySignal, RelaySignalListener } from '../../relay-signal.js';
import { Announcements, announcementText, readAnnouncement } from '../announcements.js';

// A NOTIFY holds a lock of the whole cluster until its commit is on disk. One of its own that waits for no disk holds it
// for a moment only.
const NOTIFY = `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`;

/**
 * {@link RelaySignal} by LISTEN and NOTIFY, on a channel of the origin's own. Never in the transaction that published:
 * there it would make all transactions of the cluster commit one after the other.
 */
export class PostgresRelaySignal implements RelaySignal {
  private readonly self = randomBytes(9).toString('base64url');
  private readonly channel: string;
  private readonly announcements = new Announcements((shards) => this.send(shards));
  /** Neither in the trace nor in the request of whoever happened to commit. */
  private readonly outside = AsyncLocalStorage.snapshot();

  constructor(
    private readonly sql: Sql,
    { origin }: Pick<ResolvedOutboxOptions, 'origin'>,
    private readonly incidents: Incidents,
  ) {
    // A channel has letters, digits and _ only; an origin has more.
    this.channel = `lockstep_outbox_${createHash('sha256').update(origin).digest('hex').slice(0, 16)}`;
  }

  announce(shards: readonly number[]): void {
    this.outside(() => this.announcements.add(shards));
  }

  async subscribe(listener: RelaySignalListener): Promise<() => Promise<void>> {
    const leave = await this.sql.listen(this.channel, (text) => {
      const heard = text === undefined ? { shards: undefined } : readAnnouncement(text, this.self);
      if (heard) listener(heard.shards);
    });
    return async () => leave();
  }

  private async send(shards: readonly number[]): Promise<void> {
    try {
      await this.sql.execute(NOTIFY, [this.channel, announcementText(this.self, shards)]);
    } catch (cause) {
      this.incidents.report({
        code: 'OUTBOX_SIGNAL_FAILED',
        source: 'outbox.postgres',
        message: 'other relays were not woken; they find the messages when they look by themselves',
        cause,
      });
    }
  }
}

/**
 * Wakes the relays of other processes through the Postgres of `SqlModule`. Each relay keeps one connection to listen;
 * through a pooler that shares backends nothing is heard, and relays look by themselves as they would without it.
 * At boot, throws ConfigurationError where `SqlModule` talks to another database, which has no notifications.
 */
export function postgresRelaySignal(): DriverProvider<RelaySignal> {
  return {
    inject: [Sql, OUTBOX_OPTIONS, Incidents],
    useFactory: (sql: Sql, options: ResolvedOutboxOptions, incidents: Incidents) => {
      if (sql.dialect !== 'postgres') {
        throw new ConfigurationError(
          `postgresRelaySignal needs Postgres, and SqlModule talks to ${sql.dialect}: use redisRelaySignal, or none.`,
        );
      }
      return new PostgresRelaySignal(sql, options, incidents);
    },
  };
}
