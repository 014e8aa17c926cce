import type { SqlTransaction } from '@lockstep/sql';
import type { TransactionalOutcome, TransactionalRequest } from '../../store-abilities.js';

/** Everything but `executed`, which is for whoever does the work. */
export type Refusal = Exclude<TransactionalOutcome<never>, { readonly outcome: 'executed' }>;

export type ClaimOutcome =
  | { readonly outcome: 'claimed'; readonly fence: bigint; readonly recovered: boolean }
  | Refusal;

/** Another transaction had the operation for too long. Thrown, because this one is of no use any more. */
export class ClaimTimeout extends Error {
  override readonly name = 'ClaimTimeout';
}

/** The records in one dialect of SQL, as operations that are one transaction use them. */
export interface TransactionalTable {
  /**
   * Claims an operation within `tx`, whose end decides about the claim too.
   *
   * @throws ClaimTimeout when another transaction had it for `waitMs`
   */
  claim(tx: SqlTransaction, request: TransactionalRequest): Promise<ClaimOutcome>;
  /** Keeps the answer. False: the claim is not there any more. */
  complete(tx: SqlTransaction, request: TransactionalRequest, response: string): Promise<boolean>;
  /** Keeps that nobody knows. False: the claim is not there any more. */
  leaveUncertain(tx: SqlTransaction, request: TransactionalRequest): Promise<boolean>;
}

/** A row as it stands in the way of a claim. Numbers as text: a client may make a number of them that is too small. */
export interface FoundRow {
  readonly state: 'I' | 'P' | 'C' | 'R' | 'U';
  readonly fingerprint: string | null;
  readonly fence: string;
  readonly policy: 'U' | 'R';
  readonly past: number;
  readonly response: string | null;
  /** Its time is over: it counts as if it were not there. */
  readonly is_over: boolean | number | null;
  /** Its owner has a lease that still runs. */
  readonly is_leased: boolean | number | null;
}

/** Why a row keeps the operation from being claimed; a mismatch before everything else. */
export function refusalBy(row: FoundRow | undefined, request: TransactionalRequest): Refusal | undefined {
  if (!row || row.is_over) return request.requiresIssue ? { outcome: 'absent' } : undefined;
  if (row.fingerprint !== null && row.fingerprint !== request.fingerprint) return { outcome: 'mismatch' };
  switch (row.state) {
    case 'C':
      return { outcome: 'completed', response: row.response ?? '' };
    case 'U':
      return { outcome: 'uncertain' };
    case 'P':
      if (row.is_leased) return { outcome: 'busy' };
      return row.policy === 'U' ? { outcome: 'uncertain' } : undefined;
    case 'I':
    case 'R':
      return undefined;
  }
}

const OWNER_VANISHED = 2;

export function hasVanishedOwner({ is_over, state, past }: FoundRow): boolean {
  return !is_over && (state === 'P' || past === OWNER_VANISHED);
}
