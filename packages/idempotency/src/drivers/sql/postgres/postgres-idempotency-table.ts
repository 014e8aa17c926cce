import type { SqlTransaction } from '@lockstep/sql';
import type {
  BeginOutcome,
  BeginRequest,
  Claim,
  Renewal,
  RenewalOutcome,
  Settlement,
  UncertainOperation,
} from '../../../idempotency-store.js';
import { type BeginRow, readBegin, settlementParams } from '../begin-row.js';
import type { IdempotencyTable, Timed } from '../idempotency-table.js';
import { beginParams, SharedIdempotencyTable } from '../shared-idempotency-table.js';
import * as statements from './postgres-statements.js';

/** The tables in Postgres, where one step is one statement. */
export class PostgresIdempotencyTable extends SharedIdempotencyTable implements IdempotencyTable {
  constructor(sql: Pick<SqlTransaction, 'query' | 'execute'>) {
    super(sql, statements);
  }

  async begin(request: BeginRequest, notAfterMs: number): Promise<Timed<BeginOutcome>> {
    const [row] = await this.sql.query<BeginRow>(statements.BEGIN, [
      ...beginParams(request, notAfterMs),
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

  purgeRecords(limit: number): Promise<number> {
    return this.sql.execute(statements.PURGE_RECORDS, [limit]);
  }

  purgeTokens(limit: number): Promise<number> {
    return this.sql.execute(statements.PURGE_TOKENS, [limit]);
  }
}
