import { ConfigurationError, type Incidents, monotonicMs, type ServerClock } from '@lockstep/core';
import type { RedisClient } from './client/redis-client.js';
import { isReplyError } from './redis.errors.js';

const OLDEST: readonly [number, number] = [6, 2];

/**
 * Looks at the server behind a new connection: reads its clock, warns when it may evict keys, and judges its version.
 *
 * @returns why the server must not be used, if so
 */
export async function checkServer(
  call: RedisClient['call'],
  clock: ServerClock,
  incidents: Incidents,
): Promise<ConfigurationError | undefined> {
  const [info] = await Promise.all([readInfo(call, incidents), sampleClock(call, clock)]);
  warnOfEviction(info, incidents);
  return refusal(info.get('redis_version'), info.get('arch_bits'));
}

async function sampleClock(call: RedisClient['call'], clock: ServerClock): Promise<void> {
  const sentAt = monotonicMs();
  const [seconds, microseconds] = (await call('time', [])) as readonly [string, string];
  clock.sample(Number(seconds) * 1_000 + Number(microseconds) / 1_000, sentAt, monotonicMs());
}

async function readInfo(call: RedisClient['call'], incidents: Incidents): Promise<Map<string, string>> {
  try {
    return parseInfo(String(await call('info', [])));
  } catch (cause) {
    // Some providers forbid INFO; whatever else goes wrong is the connection's affair.
    if (!isReplyError(cause)) throw cause;
    incidents.report({
      code: 'REDIS_NOT_CHECKED',
      source: 'redis.connection',
      message: 'INFO was refused, so version and eviction policy of the server are not known',
      cause,
    });
    return new Map();
  }
}

function parseInfo(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

function warnOfEviction(info: ReadonlyMap<string, string>, incidents: Incidents): void {
  const policy = info.get('maxmemory_policy') ?? 'noeviction';
  if (policy === 'noeviction' || info.get('maxmemory') === '0') return;
  incidents.report({
    code: 'REDIS_EVICTS',
    source: 'redis.connection',
    message: 'this Redis drops keys when its memory is full, and with them leases and results; set noeviction',
    fields: { policy },
  });
}

function refusal(version: string | undefined, bits: string | undefined): ConfigurationError | undefined {
  // Its Lua cuts whole numbers to 32 bits: fences and times would be wrong without a word.
  if (bits === '32') return new ConfigurationError('This Redis is a 32-bit build; Lockstep needs a 64-bit one.');
  if (version === undefined) return undefined;
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return undefined;
  return new ConfigurationError(`Redis is version ${version}; Lockstep needs ${OLDEST.join('.')} or newer.`);
}
