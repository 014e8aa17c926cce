/** Where the workers of a run find the servers that its global setup found or started. */
export const TEST_REDIS_URL = 'LOCKSTEP_TEST_REDIS_URL';
export const TEST_POSTGRES_URL = 'LOCKSTEP_TEST_POSTGRES_URL';
/** Of a server that runs already, or where to ask for the one that is started on demand. */
export const TEST_MARIADB_URL = 'LOCKSTEP_TEST_MARIADB_URL';
/** The same for NATS. */
export const TEST_NATS_URL = 'LOCKSTEP_TEST_NATS_URL';

export type SharedServer =
  | typeof TEST_REDIS_URL
  | typeof TEST_POSTGRES_URL
  | typeof TEST_MARIADB_URL
  | typeof TEST_NATS_URL;

export function sharedServerUrl(variable: SharedServer): string {
  const url = process.env[variable];
  if (url === undefined || url === '') {
    throw new Error(`${variable} is not set: add @lockstep/testing's global setup to vitest's \`globalSetup\``);
  }
  return url;
}
