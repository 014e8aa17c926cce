import { isConflict, isLockTimeout, type SqlTransaction } from '@lockstep/sql';
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
import * as statements from './mariadb-statements.js';

/** The tables in MariaDB, where a step of several statements is one block. */
export class MariaDbIdempotencyTable extends SharedIdempotencyTable implements IdempotencyTable {
  constructor(sql: Pick<SqlTransaction, 'query' | 'execute'>) {
    super(sql, statements);
  }

  async begin(request: BeginRequest, notAfterMs: number): Promise<Timed<BeginOutcome>> {
    const [row] = await this.sql.query<BeginRow>(statements.BEGIN, [
      ...beginParams(request, notAfterMs),
      request.requiresIssue ? 1 : 0,
    ]);
    return readBegin(row);
  }

  async settle(claim: Claim, settlement: Settlement): Promise<boolean> {
    const params = [claim.id, claim.owner, ...settlementParams(settlement)];
    const [row] = await this.sql.query<{ settled: number }>(statements.SETTLE, params);
    return Number(row?.settled) === 1;
  }

  /** One batch, in the order of the keys; where somebody has one of its rows in hand, each by itself. */
  async renew(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]> {
    try {
      return await this.renewTogether(items);
    } catch (error) {
      if (items.length < 2 || !(isConflict(error) || isLockTimeout(error))) throw error;
    }
    const answers: RenewalOutcome[] = [];
    for (const item of items) answers.push(await this.renewAlone(item));
    return answers;
  }

  async sweep(limit: number): Promise<number> {
    return this.changed(statements.sweep(limit));
  }

  async listUncertain(limit: number): Promise<readonly UncertainOperation[]> {
    const rows = await this.sql.query<{ id: string; operation: string; since: string }>(
      statements.listUncertain(limit),
    );
    return rows.map(({ id, operation, since }) => ({ id, operation, sinceAt: Number(since) }));
  }

  purgeRecords(limit: number): Promise<number> {
    return this.changed(statements.purgeRecords(limit));
  }

  purgeTokens(limit: number): Promise<number> {
    return this.changed(statements.purgeTokens(limit));
  }

  /** In one order, so that two batches cannot wait for each other. */
  private async renewTogether(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]> {
    const order = items.map((_, place) => place).sort((a, b) => (idAt(items, a) < idAt(items, b) ? -1 : 1));
    const asked = order.map((place) => askedOf(items[place]));
    const rows = await this.sql.query<{ outcome: RenewalOutcome }>(statements.RENEW, [JSON.stringify(asked)]);
    const answers: RenewalOutcome[] = items.map(() => 'unknown');
    for (const [index, place] of order.entries()) answers[place] = rows[index]?.outcome ?? 'unknown';
    return answers;
  }

  private async renewAlone(item: Renewal): Promise<RenewalOutcome> {
    try {
      return (await this.renewTogether([item]))[0] ?? 'unknown';
    } catch (error) {
      if (isConflict(error) || isLockTimeout(error)) return 'unknown';
      throw error;
    }
  }

  private async changed(statement: string): Promise<number> {
    const [row] = await this.sql.query<{ changed: number | string }>(statement);
    return Number(row?.changed);
  }
}

function idAt(items: readonly Renewal[], place: number): string {
  return items[place]?.id ?? '';
}

function askedOf(item: Renewal | undefined): object {
  if (!item) return {};
  const { id, owner, leaseMs, retentionMs } = item;
  return { id, owner, leaseUs: Math.round(leaseMs * 1_000), retentionUs: Math.round(retentionMs * 1_000) };
}
