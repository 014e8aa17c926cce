import type { OnApplicationBootstrap } from '@nestjs/common';
import type {
  BeginOutcome,
  BeginRequest,
  Claim,
  IdempotencyStore,
  Renewal,
  RenewalOutcome,
  Resolution,
  Settlement,
  UncertainOperation,
} from '../../idempotency-store.js';
import type {
  AdoptingStore,
  AdoptOutcome,
  AdoptRequest,
  StepStore,
  TokenStore,
  TransactionalOutcome,
  TransactionalRequest,
  TransactionalRun,
  TransactionalStore,
  TransactionalWork,
} from '../../store-abilities.js';
import type { ExpiredRecords } from './expired-records.js';
import type { IdempotencyDatabase } from './idempotency-database.js';

/** Renewals of one statement; what is beyond goes in further ones. */
const RENEW_AT_ONCE = 500;

/**
 * One row per operation, changed in single steps by the database's clock. Every step is committed at once, on a
 * connection of its own, also while the caller has a transaction open; what is one transaction is left to who keeps that
 * in the same table.
 */
export class SqlIdempotencyStore
  implements IdempotencyStore, StepStore, AdoptingStore, TokenStore, TransactionalStore, OnApplicationBootstrap
{
  constructor(
    private readonly database: IdempotencyDatabase,
    private readonly expired: ExpiredRecords,
    private readonly transactions: TransactionalStore,
  ) {}

  /** Here and not at first use, whose caller's transaction and trace the loop would be part of for ever. */
  onApplicationBootstrap(): void {
    this.expired.start();
  }

  begin(request: BeginRequest): Promise<BeginOutcome> {
    return this.database.timedStep('idempotency.begin', (table) =>
      table.begin(request, this.database.notAfterMs(request.applyWithinMs)),
    );
  }

  async renew(items: readonly Renewal[]): Promise<readonly RenewalOutcome[]> {
    const answers: RenewalOutcome[] = [];
    for (let from = 0; from < items.length; from += RENEW_AT_ONCE) {
      const some = items.slice(from, from + RENEW_AT_ONCE);
      answers.push(...(await this.database.step('idempotency.renew', (table) => table.renew(some))));
    }
    return answers;
  }

  settle(claim: Claim, settlement: Settlement): Promise<boolean> {
    return this.database.step('idempotency.settle', (table) => table.settle(claim, settlement));
  }

  sweep(limit: number): Promise<number> {
    return this.database.step('idempotency.sweep', (table) => table.sweep(limit));
  }

  listUncertain(limit: number): Promise<readonly UncertainOperation[]> {
    return this.database.step('idempotency.list', (table) => table.listUncertain(limit));
  }

  resolve(id: string, resolution: Resolution): Promise<boolean> {
    return this.database.step('idempotency.resolve', (table) => table.resolve(id, resolution));
  }

  adopt(request: AdoptRequest): Promise<AdoptOutcome> {
    return this.database.step('idempotency.adopt', (table) => table.adopt(request));
  }

  saveStep(claim: Claim, step: string, result: string): Promise<boolean> {
    return this.database.step('idempotency.save-step', (table) => table.saveStep(claim, step, result));
  }

  transact<T>(
    request: TransactionalRequest,
    work: (run: TransactionalRun) => Promise<TransactionalWork<T>>,
  ): Promise<TransactionalOutcome<T>> {
    return this.transactions.transact(request, work);
  }

  issue(id: string, ttlMs: number): Promise<void> {
    return this.database.step('idempotency.issue', (table) => table.issue(id, ttlMs));
  }

  issueSingle(slot: string, token: string, ttlMs: number): Promise<void> {
    return this.database.step('idempotency.issue', (table) => table.issueSingle(slot, token, ttlMs));
  }

  takeSingle(slot: string, token: string): Promise<boolean> {
    return this.database.step('idempotency.take', (table) => table.takeSingle(slot, token));
  }
}
