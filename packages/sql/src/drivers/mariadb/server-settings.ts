import { ConfigurationError } from '@lockstep/core';
import { type MariaDbClient, physicalOf } from './mariadb-client.js';
import type { MariaDbConnection } from './mariadb-connection.js';

const OLDEST_SERVER = [10, 6] as const;
const CLIENT_FOUND_ROWS = 2;

/** What the sessions of an own pool begin with: a value that does not fit is an error, times are UTC. */
export const SESSION_SETTINGS: readonly string[] = [
  `SET SESSION sql_mode = 'TRADITIONAL,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', autocommit = 1`,
  'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED',
];

interface Settings {
  readonly version: string;
  readonly mode: string;
  readonly autocommit: string | number;
}

/**
 * Looks at the first connection.
 *
 * @throws ConfigurationError when the server is no MariaDB of 10.6 or later, or the application's pool would let this
 * package say what is not so
 */
export async function assertSuitable(
  client: MariaDbClient,
  connection: MariaDbConnection,
  { owned, timeoutMs }: { readonly owned: boolean; readonly timeoutMs: number },
): Promise<void> {
  const text = 'SELECT VERSION() AS version, @@sql_mode AS mode, @@autocommit AS autocommit';
  const { rows } = await connection.run(text, [], timeoutMs);
  const settings = rows[0] as Settings;
  assertVersion(settings.version);
  const flags = physicalOf(client).config?.clientFlags;
  if (typeof flags === 'number' && (flags & CLIENT_FOUND_ROWS) === 0) {
    throw refused("the flag FOUND_ROWS, which is switched off: 'rows touched' would not count rows that stay the same");
  }
  if (!owned) assertSession(settings);
}

function assertVersion(version: string): void {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  if (!/mariadb/i.test(version)) {
    throw new ConfigurationError(`The server is no MariaDB: it calls itself ${version}.`);
  }
  const isOlder =
    Number(major) < OLDEST_SERVER[0] || (Number(major) === OLDEST_SERVER[0] && Number(minor) < OLDEST_SERVER[1]);
  if (isOlder) {
    throw new ConfigurationError(`The MariaDB server has version ${major}.${minor}; Lockstep needs 10.6 or later.`);
  }
}

function assertSession({ mode, autocommit }: Settings): void {
  const modes = mode.split(',');
  if (!modes.some((each) => each.startsWith('STRICT_'))) {
    throw refused('a strict sql_mode: without it, a value that does not fit is cut');
  }
  if (modes.includes('NO_BACKSLASH_ESCAPES')) throw refused('an sql_mode without NO_BACKSLASH_ESCAPES');
  if (Number(autocommit) !== 1) throw refused('autocommit: without it, a single statement is never committed');
}

function refused(what: string): ConfigurationError {
  return new ConfigurationError(`The connections of the given pool need ${what}.`);
}
