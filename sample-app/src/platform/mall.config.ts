import { hkdfSync } from 'node:crypto';
import { ConfigurationError, type Duration, durationMs } from '@lockstep/core';
import type { Partner } from '../partners/partners.module.js';

/** Which jobs a process does. One process may do all of them. */
export type MallRole = 'web' | 'relay' | 'consumer' | 'settlement';

export interface MallConfig {
  readonly databaseUrl: string;
  /** Without Redis, idempotency, locks and BullMQ are on Postgres. */
  readonly redisUrl: string | undefined;
  /** The bank that charges the buyers. Without it nothing can be paid. */
  readonly bankUrl: string | undefined;
  /** The partner shop that is told of what was paid. Without it nobody is. */
  readonly partner: Partner | undefined;
  readonly port: number;
  readonly roles: ReadonlySet<MallRole>;
  /** Below it are `www`, where customers log in and fill their carts, and `order`, where they check out. */
  readonly domain: string;
  /** Signs what travels with messages, and keys the fingerprints of requests. */
  readonly secret: string;
  /** Signs the ids of sessions. */
  readonly sessionKey: Uint8Array;
  /** Lets the warehouse restock. */
  readonly warehouseToken: string;
  /** Lets the operators settle. */
  readonly operatorToken: string;
  /** How long others wait for the lock of an instance that has died, where the lock does not say it itself. */
  readonly lockTtlMs: number;
  /** How long an order waits for its payment before its pieces are for others. */
  readonly payWithinMs: number;
}

const ROLES: readonly MallRole[] = ['web', 'relay', 'consumer', 'settlement'];
const DOMAIN = /^(?:[a-z0-9-]+\.)+[a-z0-9-]+$/;
const SESSION_KEY_BYTES = 32;
const AT_NIGHT = '0 30 2 * * *';

/** @throws ConfigurationError naming the variable */
export function mallConfigFrom(env: NodeJS.ProcessEnv): MallConfig {
  const secret = required(env, 'MALL_SECRET');
  return {
    databaseUrl: required(env, 'DATABASE_URL'),
    redisUrl: env.REDIS_URL || undefined,
    bankUrl: env.MALL_BANK_URL || undefined,
    partner: env.MALL_PARTNER_URL
      ? { url: env.MALL_PARTNER_URL, secret: required(env, 'MALL_PARTNER_SECRET') }
      : undefined,
    port: portFrom(env),
    roles: roles(env.MALL_ROLES ?? ROLES.join(',')),
    domain: domainFrom(env),
    secret,
    // A key of its own for each purpose, from one secret.
    sessionKey: new Uint8Array(hkdfSync('sha256', secret, '', 'mall:session', SESSION_KEY_BYTES)),
    warehouseToken: required(env, 'MALL_WAREHOUSE_TOKEN'),
    operatorToken: required(env, 'MALL_OPERATOR_TOKEN'),
    lockTtlMs: durationMs((env.MALL_LOCK_TTL || '10s') as Duration, 'MALL_LOCK_TTL'),
    payWithinMs: durationMs((env.MALL_PAY_WITHIN || '30m') as Duration, 'MALL_PAY_WITHIN'),
  };
}

function required(env: NodeJS.ProcessEnv, name: string): string {
  const value = env[name];
  if (!value) throw new ConfigurationError(`Environment variable ${name} is not set.`);
  return value;
}

/** @throws ConfigurationError when PORT is no port number */
export function portFrom(env: NodeJS.ProcessEnv): number {
  const text = env.PORT || '3000';
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0 && value <= 65_535) return value;
  throw ConfigurationError.option('PORT', text, 'a port number');
}

/** When the merchants are paid, as a cron expression in UTC. Apart, because the decorator wants it before all else. */
export function settlementTimeFrom(env: NodeJS.ProcessEnv): string {
  return env.MALL_SETTLEMENT_CRON || AT_NIGHT;
}

/** @throws ConfigurationError when MALL_DOMAIN is no name with a dot */
function domainFrom(env: NodeJS.ProcessEnv): string {
  const text = (env.MALL_DOMAIN || 'mall.localhost').toLowerCase();
  if (DOMAIN.test(text)) return text;
  throw ConfigurationError.option('MALL_DOMAIN', text, 'a name such as mall.example');
}

function roles(text: string): ReadonlySet<MallRole> {
  const named = text.split(',').map((role) => role.trim());
  const unknown = named.find((role) => !(ROLES as readonly string[]).includes(role));
  if (unknown !== undefined) throw ConfigurationError.option('MALL_ROLES', text, `some of ${ROLES.join(', ')}`);
  return new Set(named as MallRole[]);
}
