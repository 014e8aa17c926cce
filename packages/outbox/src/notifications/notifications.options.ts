import { ConfigurationError, checkedSwitch, checkKnown, type Duration, durationMs, wholeNumber } from '@lockstep/core';
import { checkedSecret } from './signing/webhook-secret.js';
import { AddressGuard } from './target/address-guard.js';
import { BoundedResolver } from './target/bounded-resolver.js';
import { type HostResolver, systemResolver } from './target/guarded-lookup.js';
import type { TargetRules } from './target/webhook-target.js';

export interface TargetOptions {
  /** Plain `http:` beside `https:`. @default false */
  readonly allowHttp?: boolean;
  /** Ports that may be called; `'any'` for all. @default [443], and 80 with `allowHttp` */
  readonly ports?: readonly number[] | 'any';
  /**
   * Networks (`10.1.0.0/16`), addresses and host names beyond the public internet that may be called: partners in the own
   * network, and tests. A host that stands here may resolve to anything. @default []
   */
  readonly allow?: readonly string[];
  /** Gives all addresses of a host. @default the resolver of the system, two names at a time */
  readonly resolve?: HostResolver;
}

export interface NotificationsModuleOptions {
  /**
   * What signs the notifications that go to a `url` and to no registered endpoint; with several, each makes a signature.
   * `whsec_` and the base64 of 24 to 64 bytes. Without it, only registered endpoints can be notified. @default []
   */
  readonly secrets?: readonly string[];
  /** Which parts run in this process. */
  readonly run?: {
    /** Sending, and forgetting what is old. @default true */
    readonly worker?: boolean;
  };
  /**
   * The pauses before the attempts; as many attempts as there are pauses, at most 50.
   * @default that of Standard Webhooks: 0, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h
   */
  readonly schedule?: readonly Duration[];
  /** By how much a pause may be longer, as a part of it; 0 to 1. @default 0.1 */
  readonly jitter?: number;
  /** How long one attempt may take altogether. @default '15s' */
  readonly timeout?: Duration;
  /**
   * For how long an attempt belongs to the process that makes it; at least twice the timeout. What a process leaves behind
   * that dies is due again after that. @default twice the timeout, at least '30s'
   */
  readonly leaseTtl?: Duration;
  /** Attempts at a time in this process; 1 to 1000. @default 20 */
  readonly concurrency?: number;
  /** Attempts at a time for one endpoint, in this process; 1 to `concurrency`. @default 4 */
  readonly concurrencyPerEndpoint?: number;
  /** Pause between two looks where nobody wakes the worker. @default '1s' */
  readonly sweepEvery?: Duration;
  /** How long an endpoint is left alone that answers 429, 502, 503 or 504 without saying for how long. @default '5s' */
  readonly throttlePause?: Duration;
  /** The longest `Retry-After` that is obeyed. @default '24h' */
  readonly retryAfterAtMost?: Duration;
  /** An endpoint that has done nothing but fail for so long is disabled. @default '5d' */
  readonly disableAfter?: Duration;
  /** The JSON text that is sent, in bytes. Standard Webhooks advises to stay below 20 kB. @default 20480 */
  readonly maxBodyBytes?: number;
  /** How long finished notifications are kept. @default '30d' */
  readonly retention?: Duration;
  /** How long received webhooks are remembered. At least twice the tolerance of every receiver. @default '14d' */
  readonly receiptRetention?: Duration;
  /** By how much the time of a partner's question may be wrong. @default '5m' */
  readonly queryTolerance?: Duration;
  /** Which addresses may be called. */
  readonly targets?: TargetOptions;
}

export interface ResolvedNotificationsOptions {
  readonly secrets: readonly string[];
  readonly runWorker: boolean;
  readonly scheduleMs: readonly number[];
  readonly jitter: number;
  readonly timeoutMs: number;
  readonly leaseTtlMs: number;
  readonly concurrency: number;
  readonly concurrencyPerEndpoint: number;
  readonly sweepEveryMs: number;
  readonly throttlePauseMs: number;
  readonly retryAfterAtMostMs: number;
  readonly disableAfterMs: number;
  readonly maxBodyBytes: number;
  readonly retentionMs: number;
  readonly receiptRetentionMs: number;
  readonly queryToleranceMs: number;
  readonly targets: TargetRules & { readonly resolve: HostResolver };
}

export const NOTIFICATIONS_OPTIONS = Symbol('@lockstep/outbox:NOTIFICATIONS_OPTIONS');

/** Of Standard Webhooks 1.0.0. */
const STANDARD_SCHEDULE: readonly Duration[] = ['0s', '5s', '5m', '30m', '2h', '5h', '10h', '14h', '20h', '24h'];
const DAY_MS = 86_400_000;
const MAX_ATTEMPTS = 50;
const MAX_SECRETS = 5;

const NAMES: readonly (keyof NotificationsModuleOptions)[] = [
  'secrets',
  'run',
  'schedule',
  'jitter',
  'timeout',
  'leaseTtl',
  'concurrency',
  'concurrencyPerEndpoint',
  'sweepEvery',
  'throttlePause',
  'retryAfterAtMost',
  'disableAfter',
  'maxBodyBytes',
  'retention',
  'receiptRetention',
  'queryTolerance',
  'targets',
];

/** @throws ConfigurationError naming the option and its value */
export function resolveNotificationsOptions(options: NotificationsModuleOptions): ResolvedNotificationsOptions {
  checkKnown(options, 'NotificationsModule', NAMES);
  const timeoutMs = durationMs(options.timeout ?? '15s', 'timeout', { minMs: 50, maxMs: 120_000 });
  const concurrency = wholeNumber('concurrency', options.concurrency ?? 20, 1, 1_000);
  const perEndpoint = options.concurrencyPerEndpoint ?? Math.min(4, concurrency);
  const within = (
    name: 'throttlePause' | 'retryAfterAtMost' | 'disableAfter',
    value: Duration,
    maxMs: number,
  ): number => durationMs(options[name] ?? value, name, { minMs: 1, maxMs });
  return Object.freeze({
    secrets: checkedSecrets(options.secrets ?? [], 'secrets'),
    runWorker: checkedWorker(options.run ?? {}),
    scheduleMs: checkedSchedule(options.schedule ?? STANDARD_SCHEDULE),
    jitter: checkedJitter(options.jitter ?? 0.1),
    timeoutMs,
    leaseTtlMs: durationMs(options.leaseTtl ?? Math.max(30_000, 2 * timeoutMs), 'leaseTtl', {
      minMs: 2 * timeoutMs,
      maxMs: 3_600_000,
    }),
    concurrency,
    concurrencyPerEndpoint: wholeNumber('concurrencyPerEndpoint', perEndpoint, 1, concurrency),
    sweepEveryMs: durationMs(options.sweepEvery ?? '1s', 'sweepEvery', { minMs: 10, maxMs: 60_000 }),
    throttlePauseMs: within('throttlePause', '5s', DAY_MS),
    retryAfterAtMostMs: within('retryAfterAtMost', '24h', 30 * DAY_MS),
    disableAfterMs: within('disableAfter', '5d', 365 * DAY_MS),
    maxBodyBytes: wholeNumber('maxBodyBytes', options.maxBodyBytes ?? 20_480, 256, 1_048_576),
    retentionMs: durationMs(options.retention ?? '30d', 'retention', { minMs: 1_000 }),
    receiptRetentionMs: durationMs(options.receiptRetention ?? '14d', 'receiptRetention', { minMs: 1_000 }),
    queryToleranceMs: durationMs(options.queryTolerance ?? '5m', 'queryTolerance', { minMs: 1_000, maxMs: DAY_MS }),
    targets: resolveTargets(options.targets ?? {}, timeoutMs),
  });
}

/**
 * Secrets to sign or verify with; the values never show in a message.
 *
 * @throws ConfigurationError
 */
export function checkedSecrets(secrets: unknown, option: string): readonly string[] {
  if (!Array.isArray(secrets) || secrets.length > MAX_SECRETS) {
    throw new ConfigurationError(`Option '${option}' is no list of at most ${MAX_SECRETS} secrets.`);
  }
  return Object.freeze(secrets.map((secret, index) => checkedSecret(secret, `${option}[${index}]`)));
}

function resolveTargets(targets: TargetOptions, timeoutMs: number): ResolvedNotificationsOptions['targets'] {
  checkKnown(targets, 'targets', ['allowHttp', 'ports', 'allow', 'resolve']);
  const allowHttp = checkedSwitch('targets.allowHttp', targets.allowHttp ?? false);
  const { ports = allowHttp ? [80, 443] : [443], allow = [] } = targets;
  const { resolve = new BoundedResolver(systemResolver, timeoutMs).resolve } = targets;
  if (ports !== 'any' && !Array.isArray(ports)) {
    throw ConfigurationError.option('targets.ports', ports, "a list of ports, or 'any'");
  }
  if (!Array.isArray(allow)) throw ConfigurationError.option('targets.allow', allow, 'a list of networks and hosts');
  if (typeof resolve !== 'function')
    throw ConfigurationError.option('targets.resolve', resolve, 'a function of the host');
  return Object.freeze({
    allowHttp,
    ports: ports === 'any' ? undefined : new Set(ports.map((port) => wholeNumber('targets.ports', port, 1, 65_535))),
    guard: new AddressGuard(allow, 'targets.allow'),
    resolve,
  });
}

function checkedWorker(run: NonNullable<NotificationsModuleOptions['run']>): boolean {
  checkKnown(run, 'run', ['worker']);
  return checkedSwitch('run.worker', run.worker ?? true);
}

function checkedSchedule(schedule: readonly Duration[]): readonly number[] {
  if (!Array.isArray(schedule) || schedule.length < 1 || schedule.length > MAX_ATTEMPTS) {
    throw ConfigurationError.option('schedule', schedule, `a list of 1 to ${MAX_ATTEMPTS} durations`);
  }
  return Object.freeze(schedule.map((pause, at) => durationMs(pause, `schedule[${at}]`, { maxMs: 30 * DAY_MS })));
}

function checkedJitter(jitter: number): number {
  if (typeof jitter === 'number' && jitter >= 0 && jitter <= 1) return jitter;
  throw ConfigurationError.option('jitter', jitter, 'a number from 0 to 1');
}
