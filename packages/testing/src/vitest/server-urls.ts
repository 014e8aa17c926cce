/** Where the workers of a run find the servers that its global setup found or started. */
export const TEST_REDIS_URL = 'LOCKSTEP_TEST_REDIS_URL';
export const TEST_POSTGRES_URL = 'LOCKSTEP_TEST_POSTGRES_URL';

export function sharedServerUrl(variable: typeof TEST_REDIS_URL | typeof TEST_POSTGRES_URL): string {
  const url = process.env[variable];
  if (url === undefined || url === '') {
    throw new Error(`${variable} is not set: add @lockstep/testing's global setup to vitest's \`globalSetup\``);
  }
  return url;
}
