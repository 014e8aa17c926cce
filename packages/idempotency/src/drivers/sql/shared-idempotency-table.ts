import type { SqlTransaction } from '@lockstep/sql';
import type { BeginRequest, Claim, Resolution } from '../../idempotency-store.js';
import type { AdoptOutcome, AdoptRequest } from '../../store-abilities.js';
import { type AdoptRow, readAdopt } from './begin-row.js';

/** Statements that take and give the same in every database. */
export interface SharedStatements {
  readonly CLOCK: string;
  readonly RESOLVE: string;
  readonly ADOPT: string;
  readonly SAVE_STEP: string;
  readonly ISSUE: string;
  readonly ISSUE_SINGLE: string;
  readonly TAKE_SINGLE: string;
}

/** The steps that differ between databases by their statement alone. */
export abstract class SharedIdempotencyTable {
  protected constructor(
    protected readonly sql: Pick<SqlTransaction, 'query' | 'execute'>,
    private readonly shared: SharedStatements,
  ) {}

  async clock(): Promise<number> {
    const [row] = await this.sql.query<{ clock_ms: string }>(this.shared.CLOCK);
    return Number(row?.clock_ms);
  }

  async resolve(id: string, end: Resolution): Promise<boolean> {
    const [state, response] = end.to === 'completed' ? ['C', end.response] : ['R', null];
    return (await this.sql.execute(this.shared.RESOLVE, [id, state, response, end.retentionMs])) === 1;
  }

  async adopt({ id, owner, leaseMs, retentionMs }: AdoptRequest): Promise<AdoptOutcome> {
    const [row] = await this.sql.query<AdoptRow>(this.shared.ADOPT, [id, owner, leaseMs, retentionMs]);
    return readAdopt(row);
  }

  async saveStep({ id, owner }: Claim, step: string, result: string): Promise<boolean> {
    return (await this.sql.execute(this.shared.SAVE_STEP, [id, owner, step, result])) === 1;
  }

  async issue(id: string, ttlMs: number): Promise<void> {
    await this.sql.execute(this.shared.ISSUE, [id, ttlMs]);
  }

  async issueSingle(slot: string, token: string, ttlMs: number): Promise<void> {
    await this.sql.execute(this.shared.ISSUE_SINGLE, [slot, token, ttlMs]);
  }

  async takeSingle(slot: string, token: string): Promise<boolean> {
    return (await this.sql.execute(this.shared.TAKE_SINGLE, [slot, token])) === 1;
  }
}

/** What a begin has to say in every database, in this order. */
export function beginParams(request: BeginRequest, notAfterMs: number): readonly (string | number)[] {
  return [
    request.id,
    request.fingerprint,
    request.owner,
    request.operation,
    request.leaseMs,
    request.retentionMs,
    request.onLeaseExpiry === 'uncertain' ? 'U' : 'R',
    notAfterMs,
  ];
}
