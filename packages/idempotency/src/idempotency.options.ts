import { ConfigurationError, type Duration, durationMs, wholeNumber } from '@lockstep/core';
import type { ExecutionContext } from '@nestjs/common';
import type { LeaseExpiryPolicy } from './idempotency-store.js';
import type { EncryptionOptions } from './response-vault.js';
import {
  type IdempotencyTokenOptions,
  type ResolvedTokenOptions,
  resolveTokenOptions,
} from './tokens/token-options.js';

/**
 * Whose key it is: tenant and principal of the request, from what authentication has proven. `'global'` shares keys
 * between all callers: who guesses a key is answered with somebody else's response.
 */
export type IdempotencyScope = ((context: ExecutionContext) => string | Promise<string>) | 'global';

/**
 * What an error of a handler means: `'release'` when nothing happened or repeating is safe, `'uncertain'` when it may
 * have happened, `'store'` when the error is the final answer (only of an `HttpException`, whatever its status),
 * undefined for the rule of its kind. Must not throw.
 */
export type ErrorVerdict = (error: unknown) => 'release' | 'uncertain' | 'store' | undefined;

/** What a request does that meets the first one with its key still running. */
export type OnConcurrent = 'reject' | { readonly wait: Duration };

/** What a request does that finds the store down. */
export type OnStoreDown = 'reject' | 'bypass';

/** How clients write the key: `"abc"`, a string of RFC 8941, or also `abc`. */
export type KeyFormat = 'lenient' | 'strict';

export interface IdempotencyModuleOptions {
  /** No default: a forgotten scope would leak answers between users. */
  readonly scope: IdempotencyScope;
  /** Key of the HMAC that fingerprints payloads, at least 16 bytes. A change makes stored keys answer 422. */
  readonly secret: string;
  /** Name of the request header. @default 'Idempotency-Key' */
  readonly header?: string;
  /**
   * Allowed length of a key, in characters, and its form: `'strict'` takes only the quoted string that the draft of the
   * header asks for, `'lenient'` the same text bare too.
   * @default { min: 16, max: 255, format: 'lenient' }
   */
  readonly key?: { readonly min?: number; readonly max?: number; readonly format?: KeyFormat };
  /**
   * How long a claim outlives its owner; renewed at a third while the handler runs. From 100 ms to 1 h.
   * @default '30s'
   */
  readonly lease?: Duration;
  /** How long an answer is kept for repetitions. At least as long as `lease`. @default '24h' */
  readonly retention?: Duration;
  /**
   * After so long the lease of a running handler is no longer renewed. At least `lease`.
   * @default '15m'
   */
  readonly maxExecution?: Duration;
  /**
   * When an owner vanished: `'uncertain'` answers 409 until an operator has looked, `'retry'` lets the next request
   * run the handler again, which may do it twice.
   * @default 'uncertain'
   */
  readonly onLeaseExpiry?: LeaseExpiryPolicy;
  /**
   * Decides about an error of a handler before the rules do, e.g. about one that an exception filter turns into a
   * refusal. Asked for every error but `NotApplied` and `OutcomeUnknown`. Also per route.
   */
  readonly onError?: ErrorVerdict;
  /**
   * `'reject'`: 409 at once. `{ wait }`: until the first request has answered, at most so long (up to 5 min), then its
   * answer or 409. Also per route.
   * @default 'reject'
   */
  readonly onConcurrent?: OnConcurrent;
  /**
   * Answers with a larger body are sent but not stored: their repetition is answered 409. In bytes of the body as it is
   * sent, before any compression; the store needs a third more for binary ones.
   * @default 262144
   */
  readonly maxResponseBytes?: number;
  /** Response headers that are stored and repeated; `Set-Cookie` and its like never are. @default a short list */
  readonly replayHeaders?: readonly string[];
  /**
   * Encrypts stored answers and steps (AES-256-GCM). A key that is taken away makes what it encrypted unreadable:
   * repetitions are refused with 409.
   * @default stored as they are
   */
  readonly encryption?: EncryptionOptions;
  /**
   * How long an operation is uncertain before a completer takes it over, again after each try that failed. At least
   * 100 ms.
   * @default '1m'
   */
  readonly completeAfter?: Duration;
  /** Pause between two sweeps for owners that vanished. At least 100 ms. @default '10s' */
  readonly sweepEvery?: Duration;
  /** Anti-resubmit tokens. @default `stored`, for 30 minutes */
  readonly tokens?: IdempotencyTokenOptions;
}

export interface ResolvedIdempotencyOptions {
  readonly scope: IdempotencyScope;
  readonly secret: string;
  readonly header: string;
  readonly key: { readonly min: number; readonly max: number; readonly format: KeyFormat };
  readonly leaseMs: number;
  readonly retentionMs: number;
  readonly maxExecutionMs: number;
  readonly onLeaseExpiry: LeaseExpiryPolicy;
  readonly onError: ErrorVerdict;
  /** How long a request waits for the first one with its key; 0: not at all. */
  readonly waitMs: number;
  readonly maxResponseBytes: number;
  readonly replayHeaders: readonly string[];
  readonly encryption: EncryptionOptions | undefined;
  readonly completeAfterMs: number;
  readonly sweepEveryMs: number;
  readonly tokens: ResolvedTokenOptions;
}

export const IDEMPOTENCY_OPTIONS = Symbol('@lockstep/idempotency:OPTIONS');

const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;
const LONGEST_WAIT_MS = 5 * 60_000;
const MAX_KEY_CHARS = 1_024;
const MIN_SECRET_BYTES = 16;
const REPLAY_HEADERS = [
  'content-type',
  'content-language',
  'content-encoding',
  'content-disposition',
  'location',
  'content-location',
  'etag',
  'last-modified',
  'link',
];
/** They belong to one request, one connection or one user. */
const NEVER_REPLAYED =
  /^(?:set-cookie2?|.*authenticate|.*authorization|date|connection|keep-alive|transfer-encoding|content-length|trailer|upgrade|.*ratelimit.*|traceparent|tracestate|server-timing)$/;
const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;

/** @throws ConfigurationError naming the option and its value */
export function resolveIdempotencyOptions(options: IdempotencyModuleOptions): ResolvedIdempotencyOptions {
  checkOptions(options);
  assertNoDrivers(options);
  const leaseMs = durationMs(options.lease ?? '30s', 'lease', { minMs: 100, maxMs: HOUR_MS });
  const secret = checkedSecret(options.secret);
  const retentionMs = durationMs(options.retention ?? '24h', 'retention', { minMs: leaseMs, maxMs: YEAR_MS });
  return Object.freeze({
    scope: checkedScope(options.scope),
    secret,
    header: checkedHeader('header', options.header ?? 'Idempotency-Key'),
    key: keyRules(options.key ?? {}),
    leaseMs,
    retentionMs,
    maxExecutionMs: durationMs(options.maxExecution ?? '15m', 'maxExecution', { minMs: leaseMs }),
    onLeaseExpiry: checkedPolicy(options.onLeaseExpiry ?? 'uncertain'),
    onError: checkedVerdict(options.onError ?? (() => undefined)),
    waitMs: concurrentWaitMs(options.onConcurrent ?? 'reject'),
    maxResponseBytes: wholeNumber('maxResponseBytes', options.maxResponseBytes ?? 262_144, 1, 16 * 1_048_576),
    replayHeaders: checkedList(options.replayHeaders ?? REPLAY_HEADERS).map(replayedHeader),
    encryption: options.encryption,
    completeAfterMs: durationMs(options.completeAfter ?? '1m', 'completeAfter', { minMs: 100 }),
    sweepEveryMs: durationMs(options.sweepEvery ?? '10s', 'sweepEvery', { minMs: 100, maxMs: HOUR_MS }),
    tokens: resolveTokenOptions(options.tokens === undefined ? {} : options.tokens, { secret, retentionMs }),
  });
}

/**
 * A program without types may forget them. Whatever it passes instead may be the secret, and stays out of the message.
 *
 * @throws ConfigurationError
 */
export function checkOptions(options: unknown): void {
  if (typeof options === 'object' && options !== null) return;
  const given = options === null ? 'null' : typeof options;
  throw new ConfigurationError(
    `IdempotencyModule needs options with at least scope and secret; it was given ${given}.`,
  );
}

/**
 * A store that a factory returns comes too late to be provided: keys would live in the memory of the process.
 *
 * @throws ConfigurationError
 */
function assertNoDrivers(options: object): void {
  const driver = ['store', 'inbox'].find((name) => name in options);
  if (driver === undefined) return;
  throw new ConfigurationError(
    `IdempotencyModule.forRootAsync: '${driver}' belongs beside useFactory, not into what the factory returns.`,
  );
}

/** @throws ConfigurationError */
export function checkedPolicy(policy: LeaseExpiryPolicy): LeaseExpiryPolicy {
  if (policy === 'uncertain' || policy === 'retry') return policy;
  throw ConfigurationError.option('onLeaseExpiry', policy, "'uncertain' or 'retry'");
}

function checkedScope(scope: IdempotencyScope | undefined): IdempotencyScope {
  if (scope === 'global' || typeof scope === 'function') return scope;
  throw ConfigurationError.option('scope', scope, "a function of the ExecutionContext, or 'global' on purpose");
}

/** The value is a secret and stays out of the message. */
function checkedSecret(secret: string | undefined): string {
  if (typeof secret !== 'string' || secret === '') {
    // An environment variable that is missing arrives as undefined, or as '' where the types asked for a string.
    const given = secret ? `a ${typeof secret}` : 'not set';
    throw new ConfigurationError(
      `Option 'secret' is ${given}; expected a string of at least ${MIN_SECRET_BYTES} bytes.`,
    );
  }
  const bytes = Buffer.byteLength(secret);
  if (bytes >= MIN_SECRET_BYTES) return secret;
  throw new ConfigurationError(`Option 'secret' has ${bytes} bytes; at least ${MIN_SECRET_BYTES} are needed.`);
}

/** @throws ConfigurationError */
export function concurrentWaitMs(onConcurrent: OnConcurrent): number {
  if (onConcurrent === 'reject') return 0;
  if (typeof onConcurrent !== 'object' || onConcurrent === null) {
    throw ConfigurationError.option('onConcurrent', onConcurrent, "'reject' or { wait: duration }");
  }
  return durationMs(onConcurrent.wait, 'onConcurrent.wait', { minMs: 1, maxMs: LONGEST_WAIT_MS });
}

/** @throws ConfigurationError */
export function checkedVerdict(onError: ErrorVerdict): ErrorVerdict {
  if (typeof onError === 'function') return onError;
  throw ConfigurationError.option('onError', onError, 'a function of the error');
}

function checkedList(names: readonly string[]): readonly string[] {
  if (Array.isArray(names)) return names;
  throw ConfigurationError.option('replayHeaders', names, 'a list of names of headers');
}

function keyRules(key: NonNullable<IdempotencyModuleOptions['key']>): ResolvedIdempotencyOptions['key'] {
  if (typeof key !== 'object') throw ConfigurationError.option('key', key, 'an object with min, max and format');
  const max = wholeNumber('key.max', key.max ?? 255, 1, MAX_KEY_CHARS);
  const { format = 'lenient' } = key;
  if (format !== 'lenient' && format !== 'strict') {
    throw ConfigurationError.option('key.format', format, "'lenient' or 'strict'");
  }
  return Object.freeze({ min: wholeNumber('key.min', key.min ?? 16, 1, max), max, format });
}

/** Whether a header says something of an answer, and not of the one request, connection or user that got it. */
export function isReplayable(name: string): boolean {
  return !NEVER_REPLAYED.test(name.toLowerCase());
}

function replayedHeader(name: string): string {
  const lower = checkedHeader('replayHeaders', name).toLowerCase();
  if (isReplayable(lower)) return lower;
  throw ConfigurationError.option('replayHeaders', name, 'no header that belongs to one user, request or connection');
}

function checkedHeader(option: string, name: string): string {
  if (typeof name === 'string' && HEADER_NAME.test(name)) return name;
  throw ConfigurationError.option(option, name, 'the name of a header');
}
