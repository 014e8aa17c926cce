import { ConfigurationError, DrainService, type DriverProvider, Incidents } from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import type { SessionStore } from '../../session-store.js';
import { EndedSessions } from './ended-sessions.js';
import { ListeningSessionStore } from './listening-session-store.js';
import { type PostgresSessionOptions, resolvePostgresSessionOptions } from './postgres-session.options.js';
import { PostgresSessionStore } from './postgres-session-store.js';
import { SESSION_TABLES, SessionDatabase } from './session-database.js';
import { SessionEnds } from './session-ends.js';

export { ListeningSessionStore } from './listening-session-store.js';
export type { PostgresSessionOptions } from './postgres-session.options.js';
export { PostgresSessionStore } from './postgres-session-store.js';

/**
 * Sessions in the Postgres of `SqlModule`, in tables that are made when the application starts, or at first use where the
 * database was down by then. One round trip per call.
 *
 * @throws ConfigurationError naming the option and its value; at boot, where `SqlModule` is not imported or its database
 *   is no Postgres
 */
export function postgresSessionStore(options: PostgresSessionOptions = {}): DriverProvider<SessionStore> {
  const { purgeEveryMs } = resolvePostgresSessionOptions(options);
  return {
    // Optional, because Nest's own message names symbols and no module.
    inject: [{ token: Sql, optional: true }, Incidents, DrainService],
    useFactory: async (sql: Sql | undefined, incidents: Incidents, drains: DrainService) => {
      if (!sql) throw new ConfigurationError('postgresSessionStore() needs SqlModule.forRoot(…) among the imports.');
      if (sql.dialect !== 'postgres') {
        throw new ConfigurationError(`postgresSessionStore() needs a Postgres; SqlModule has ${sql.dialect}.`);
      }
      await sql.migrateAtBoot(SESSION_TABLES);
      const database = new SessionDatabase(sql);
      const reaper = new EndedSessions(database, {
        everyMs: purgeEveryMs,
        onError: (cause) =>
          report(incidents, 'SESSION_PURGE_FAILED', 'The tables grow until a later purge succeeds', cause),
        onListenerError: (cause) =>
          report(incidents, 'SESSION_LISTENER_FAILED', 'Who was told of sessions that have run out threw', cause),
      });
      drains.register({ name: 'session purge', phase: 'work', drain: () => reaper.stop() });
      if (!sql.canListen) return new PostgresSessionStore(database, reaper);
      return new ListeningSessionStore(database, reaper, new SessionEnds(sql));
    },
  };
}

function report(incidents: Incidents, code: string, message: string, cause: unknown): void {
  incidents.report({ code, source: 'session.postgres', message, cause });
}
