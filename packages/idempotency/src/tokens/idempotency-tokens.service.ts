import { randomBytes } from 'node:crypto';
import { ConfigurationError, count, type Duration } from '@lockstep/core';
import { Inject, Injectable } from '@nestjs/common';
import { unwrapVerdict } from '../failure-verdict.js';
import { OperationAbsentError, OperationInvalidError } from '../idempotency.errors.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import { IdempotencyService } from '../idempotency.service.js';
import { IDEMPOTENCY_STORE, type IdempotencyStore } from '../idempotency-store.js';
import type { Begun, ExecutionPolicy, Operation } from '../operation.js';
import { type OperationKey, operationId } from '../operation-id.js';
import { issuesTokens, type TokenStore } from '../store-abilities.js';
import { StatelessTokens } from './stateless-tokens.js';
import { IdempotencyTokenInvalidError } from './token.errors.js';
import type { TokenFor } from './token-for.js';
import { CLOCK_SKEW_MS, checkedPurpose, type ResolvedTokenPlan, tokenTtlMs } from './token-options.js';

export interface IssueTokenOptions {
  /** @default the one of the purpose, else the module's `tokens.ttl` */
  readonly ttl?: Duration;
}

/** A token as it came back. */
export interface TokenUse extends TokenFor {
  readonly token: string;
  /** What must be the same when the token comes again; see {@link Operation.payload}. Not looked at in mode `single`. */
  readonly payload: unknown;
}

/** `taken`: the caller alone has a token of mode `single`, and there is nothing to end. */
export type Consumed = Begun | { readonly kind: 'taken' };

const TOKEN_BYTES = 24;
const RANDOM_TOKEN = /^[A-Za-z0-9_-]{32}$/;

/**
 * Anti-resubmit tokens: what a form was given is submitted once, and a repetition gets the first answer.
 *
 * ```
 * stored:    (none) --issue--> issued --consume--> running … as `IdempotencyService`; issued --ttl over--> (none)
 * stateless: (none) --consume, signature holds, ttl not over--> running …
 * single:    (none) --issue--> issued --take, or the next issue, or ttl over--> (none)
 * ```
 * A running one that ends as not applied is released and can be used again. It is no defence against CSRF by itself:
 * it keeps out who cannot read the answer that brought the token, but it binds to the scope and not to the browser, and
 * whoever can ask for a token in the user's name has one.
 */
@Injectable()
export class IdempotencyTokens {
  private readonly stateless: StatelessTokens;

  constructor(
    @Inject(IDEMPOTENCY_STORE) private readonly store: IdempotencyStore,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(IdempotencyService) private readonly operations: IdempotencyService,
  ) {
    this.stateless = new StatelessTokens(options.tokens.keyring);
  }

  /**
   * A new token for one submit. No round trip in mode `stateless`, else one.
   *
   * @throws ConfigurationError for a purpose or ttl that is none, or a store that cannot issue
   * @throws StoreUnavailableError when the store does not answer
   */
  async issue(whose: TokenFor, { ttl }: IssueTokenOptions = {}): Promise<string> {
    const { mode, ttlMs } = this.planOf(whose.purpose, ttl);
    checkScope(whose.scope);
    const token = mode === 'stateless' ? this.stateless.issue(whose, ttlMs) : randomToken();
    const id = operationId(operationOf(whose, token));
    if (mode === 'stored') await this.issuer(whose.purpose).issue(id, ttlMs);
    if (mode === 'single') await this.issuer(whose.purpose).issueSingle(slotOf(whose), id, ttlMs);
    count('lockstep.idempotency.token', { action: 'issued', mode });
    return token;
  }

  /**
   * Claims what the token stands for, in one round trip. The caller ends an execution by `IdempotencyService.end` or
   * `fail`, and hands a replay out.
   *
   * @param signal ends the wait for whoever is at it
   * @throws IdempotencyTokenInvalidError the token may not be used, whyever
   * @throws what `IdempotencyService.begin` throws
   */
  async consume(use: TokenUse, policy: ExecutionPolicy = {}, signal?: AbortSignal): Promise<Consumed> {
    try {
      const admitted = await this.admit(use, policy);
      return admitted ? await this.operations.begin(...admitted, signal) : { kind: 'taken' };
    } catch (error) {
      throw refusalOf(error);
    }
  }

  /**
   * Runs `fn` once for the token; repetitions get the first result, which must be JSON. `currentIdempotency()` tells
   * `fn` what it is part of. In mode `single` there is no such thing, and the second use is refused.
   *
   * @throws what {@link consume} throws, and what `fn` throws
   */
  async run<T>(use: TokenUse, fn: () => Promise<T>, policy: ExecutionPolicy = {}, signal?: AbortSignal): Promise<T> {
    let hasBegun = false;
    const work = (): Promise<T> => {
      hasBegun = true;
      return fn();
    };
    try {
      const admitted = await this.admit(use, policy);
      return admitted ? await this.operations.run(admitted[0], work, admitted[1], signal) : await withoutVerdict(work);
    } catch (error) {
      throw hasBegun ? error : refusalOf(error);
    }
  }

  /**
   * Refuses a purpose whose tokens could not be issued or used; for the boot.
   *
   * @throws ConfigurationError
   */
  assertUsable(purpose: string, { ttl }: IssueTokenOptions = {}): void {
    if (this.planOf(purpose, ttl).mode !== 'stateless') this.issuer(purpose);
  }

  /** The operation of a token, and on which terms it may begin; undefined once the caller has taken one that has none. */
  private async admit(use: TokenUse, policy: ExecutionPolicy): Promise<[Operation, ExecutionPolicy] | undefined> {
    const { mode } = this.planOf(use.purpose);
    checkScope(use.scope);
    if (mode === 'stored') return this.admitStored(use, policy);
    if (mode === 'stateless') return this.admitStateless(use, policy);
    const isTaken =
      RANDOM_TOKEN.test(use.token) &&
      (await this.issuer(use.purpose).takeSingle(slotOf(use), operationId(operationOf(use, use.token))));
    if (!isTaken) throw new IdempotencyTokenInvalidError({ wasPerhapsUsed: true });
    return undefined;
  }

  private admitStored({ token, payload, ...whose }: TokenUse, policy: ExecutionPolicy): [Operation, ExecutionPolicy] {
    if (!RANDOM_TOKEN.test(token)) throw new IdempotencyTokenInvalidError();
    return [
      { ...operationOf(whose, token), payload },
      { ...policy, requiresIssue: true },
    ];
  }

  private admitStateless(
    { token, payload, ...whose }: TokenUse,
    policy: ExecutionPolicy,
  ): [Operation, ExecutionPolicy] {
    const read = this.stateless.read(token, whose);
    // After its end only a submit that began in time may go on; its record is the proof. Where none can be asked for, no.
    if (!read || (read.leftMs <= 0 && !issuesTokens(this.store))) throw new IdempotencyTokenInvalidError();
    // A record that ends before its token would let the token run again.
    const retentionMs = Math.max(policy.retentionMs ?? this.options.retentionMs, read.leftMs + CLOCK_SKEW_MS);
    const requiresIssue = read.leftMs <= 0;
    return [
      { ...operationOf(whose, read.key), payload },
      { ...policy, retentionMs, requiresIssue },
    ];
  }

  private planOf(purpose: string, ttl?: Duration): ResolvedTokenPlan {
    const { tokens, retentionMs } = this.options;
    const plan = tokens.purposes.get(checkedPurpose(purpose)) ?? tokens;
    return ttl === undefined ? plan : { mode: plan.mode, ttlMs: tokenTtlMs('ttl', ttl, plan.mode, retentionMs) };
  }

  private issuer(purpose: string): TokenStore {
    if (issuesTokens(this.store)) return this.store;
    throw new ConfigurationError(
      `The store of IdempotencyModule cannot issue the tokens of '${purpose}'; set tokens.mode to 'stateless', or take ` +
        'another store.',
    );
  }
}

function randomToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url');
}

/** Not named by the route: who issues it does not know where it will be submitted; the payload says that. */
function operationOf({ purpose, scope }: TokenFor, key: string): OperationKey {
  return { scope, operation: `token:${purpose}`, key };
}

function slotOf({ purpose, scope }: TokenFor): string {
  return operationId({ scope, operation: `token-slot:${purpose}`, key: '' });
}

/** A program without types may forget it, and two callers without a scope must not share their tokens. */
function checkScope(scope: unknown): void {
  if (typeof scope !== 'string') throw new OperationInvalidError('scope', 'is no string');
}

/** Whatever is wrong with a token, one answer. */
function refusalOf(error: unknown): unknown {
  const refusal = error instanceof OperationAbsentError ? new IdempotencyTokenInvalidError() : error;
  if (refusal instanceof IdempotencyTokenInvalidError) count('lockstep.idempotency.token', { action: 'refused' });
  return refusal;
}

/** The caller gets the error that a verdict was wrapped around, as from a token with a record. */
async function withoutVerdict<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    throw unwrapVerdict(error);
  }
}
