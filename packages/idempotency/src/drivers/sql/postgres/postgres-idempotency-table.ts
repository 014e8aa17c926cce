import type { SqlTransaction } from '@lockstep/sql';
import type {
  BeginOutcome,
  BeginRequest,
  Claim,
  Renewal,
  RenewalOutcome,
  Resolution,
  Settlement,
  UncertainOperation,
} from '../../../idempotency-store.js';
import type { AdoptOutcome, AdoptRequest } from '../../../store-abilities.js';
import { type AdoptRow, type BeginRow, readAdopt, readBegin, settlementParams } from '../begin-row.js';
import type { IdempotencyTable, Timed } from '../idempotency-table.js';
import * as statements from './postgres-statements.js';

/** The tables in Postgres, where one step is one statement. */
export class PostgresIdempotencyTable implements IdempotencyTable {
  constructor(private readonly sql: Pick<SqlTransaction, 'query' | 'execute'>) {}

  async clock(): Promise<number> {
    const [row] = await this.sql.query<{ clock_ms: string }>(statements.CLOCK);
    return Number(row?.clock_ms);
  }

  async begin(request: BeginRequest, notAfterMs: number): Promise<Timed<BeginOutcome>> {
    const [row] = await this.sql.query<BeginRow>(statements.BEGIN, [
      request.id,
      request.fingerprint,
      request.owner,
      request.operation,
      request.leaseMs,
      request.retentionMs,
      request.onLeaseExpiry === 'uncertain' ? 'U' : 'R',
      notAfterMs,
      request.isWaiting ?? false,
      request.requiresIssue ?? false,
    ]);
    return readBegin(row);
  }

  async settle(claim: Claim, settlement: Settlement): Promise<boolean> {
    const params = [claim.id, claim.owner, ...settlementParams(settlement)];
    const [row] = await this.sql.query<{ settled: boolean }>(statements.SETTLE, params);
    return row?.settled === true;
  }

  async renew(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]> {
    const rows = await this.sql.query<{ outcome: RenewalOutcome }>(statements.RENEW, [
      items.map(({ id }) => id),
      items.map(({ owner }) => owner),
      items.map(({ leaseMs }) => leaseMs),
      items.map(({ retentionMs }) => retentionMs),
    ]);
    return rows.map(({ outcome }) => outcome);
  }

  sweep(limit: number): Promise<number> {
    return this.sql.execute(statements.SWEEP, [limit]);
  }

  async listUncertain(limit: number): Promise<readonly UncertainOperation[]> {
    const rows = await this.sql.query<{ id: string; operation: string; since: string }>(statements.LIST_UNCERTAIN, [
      limit,
    ]);
    return rows.map(({ id, operation, since }) => ({ id, operation, sinceAt: Number(since) }));
  }

  async resolve(id: string, end: Resolution): Promise<boolean> {
    const [state, response] = end.to === 'completed' ? ['C', end.response] : ['R', null];
    return (await this.sql.execute(statements.RESOLVE, [id, state, response, end.retentionMs])) === 1;
  }

  async adopt({ id, owner, leaseMs, retentionMs }: AdoptRequest): Promise<AdoptOutcome> {
    const [row] = await this.sql.query<AdoptRow>(statements.ADOPT, [id, owner, leaseMs, retentionMs]);
    return readAdopt(row);
  }

  async saveStep({ id, owner }: Claim, step: string, result: string): Promise<boolean> {
    return (await this.sql.execute(statements.SAVE_STEP, [id, owner, step, result])) === 1;
  }

  async issue(id: string, ttlMs: number): Promise<void> {
    await this.sql.execute(statements.ISSUE, [id, ttlMs]);
  }

  async issueSingle(slot: string, token: string, ttlMs: number): Promise<void> {
    await this.sql.execute(statements.ISSUE_SINGLE, [slot, token, ttlMs]);
  }

  async takeSingle(slot: string, token: string): Promise<boolean> {
    return (await this.sql.execute(statements.TAKE_SINGLE, [slot, token])) === 1;
  }

  purgeRecords(limit: number): Promise<number> {
    return this.sql.execute(statements.PURGE_RECORDS, [limit]);
  }

  purgeTokens(limit: number): Promise<number> {
    return this.sql.execute(statements.PURGE_TOKENS, [limit]);
  }
}
