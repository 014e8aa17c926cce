import type {
  BeginOutcome,
  BeginRequest,
  Claim,
  Renewal,
  RenewalOutcome,
  Resolution,
  Settlement,
  UncertainOperation,
} from '../../idempotency-store.js';
import type { AdoptOutcome, AdoptRequest } from '../../store-abilities.js';

/** What a step was answered, and what time it was at the database meanwhile. */
export interface Timed<T> {
  readonly answer: T;
  /** Epoch milliseconds. */
  readonly clockMs: number;
}

/**
 * The tables in one dialect of SQL: each method one step, atomic by itself and committed at once. What the database
 * throws passes as it is.
 */
export interface IdempotencyTable {
  clock(): Promise<number>;
  /** @param notAfterMs epoch milliseconds of the database's clock, after which nothing is claimed any more */
  begin(request: BeginRequest, notAfterMs: number): Promise<Timed<BeginOutcome>>;
  settle(claim: Claim, settlement: Settlement): Promise<boolean>;
  renew(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]>;
  sweep(limit: number): Promise<number>;
  listUncertain(limit: number): Promise<readonly UncertainOperation[]>;
  resolve(id: string, resolution: Resolution): Promise<boolean>;
  adopt(request: AdoptRequest): Promise<AdoptOutcome>;
  saveStep(claim: Claim, step: string, result: string): Promise<boolean>;
  issue(id: string, ttlMs: number): Promise<void>;
  issueSingle(slot: string, token: string, ttlMs: number): Promise<void>;
  takeSingle(slot: string, token: string): Promise<boolean>;
  /** Deletes at most `limit` records whose end has come, passing over what others have in hand. */
  purgeRecords(limit: number): Promise<number>;
  purgeTokens(limit: number): Promise<number>;
}
