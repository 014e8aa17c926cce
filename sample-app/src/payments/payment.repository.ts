import { Incidents } from '@lockstep/core';
import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';
import { OrderRepository } from '../orders/order.repository.js';
import { OrderEvents } from '../orders/order-events.js';
import type { Payment, PaymentAttempt } from './payment.js';

const COLUMNS = 'reference::text, order_id::text AS "orderId", buyer_id AS "buyerId", cents, status';

@Injectable()
export class PaymentRepository {
  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(OrderRepository) private readonly orders: OrderRepository,
    @Inject(OrderEvents) private readonly events: OrderEvents,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  /**
   * Notes what the bank will be asked for; undefined when the buyer has no such order, when it is paid, may be, or was
   * released, and when the attempt is void already.
   */
  async open({ reference, requestId, orderId, buyerId }: PaymentAttempt): Promise<Payment | undefined> {
    const [payment] = await this.sql.query<Payment>(
      `INSERT INTO mall_payment (reference, request_id, order_id, buyer_id, cents)
       SELECT $1::uuid, $2, id, buyer_id, total_cents FROM mall_order
       WHERE id = $3::uuid AND buyer_id = $4 AND status = 'placed' FOR UPDATE
       ON CONFLICT DO NOTHING
       RETURNING ${COLUMNS}`,
      [reference, requestId, orderId, buyerId],
    );
    return payment;
  }

  /** The payment of an order that is paid or may be. */
  async findOf(orderId: string, buyerId: string): Promise<Payment | undefined> {
    const [payment] = await this.sql.query<Payment>(
      `SELECT ${COLUMNS} FROM mall_payment WHERE order_id = $1::uuid AND buyer_id = $2 AND status <> 'void'`,
      [orderId, buyerId],
    );
    return payment;
  }

  /** Whether the buyer has such an order that is neither paid nor released. */
  async isPayable(orderId: string, buyerId: string): Promise<boolean> {
    const text = `SELECT 1 FROM mall_order WHERE id = $1::uuid AND buyer_id = $2 AND status = 'placed'`;
    return (await this.sql.query(text, [orderId, buyerId])).length > 0;
  }

  /** What each request asked for, by request: the attempt that is paid or may be, else the last one that is void. */
  async findByRequests(requestIds: readonly string[]): Promise<ReadonlyMap<string, Payment>> {
    const rows = await this.sql.query<Payment & { readonly requestId: string }>(
      `SELECT DISTINCT ON (request_id) request_id AS "requestId", ${COLUMNS} FROM mall_payment
       WHERE request_id = ANY($1::text[]) ORDER BY request_id, status = 'void', asked_at DESC`,
      [requestIds],
    );
    return new Map(rows.map(({ requestId, ...payment }) => [requestId, payment]));
  }

  /**
   * Books a charge of the bank, and that the order is paid, once however often it is asked to. It takes the order before
   * the payment, as everybody here does: an attempt that begins meanwhile waits for both.
   */
  async book({ reference, orderId }: Pick<Payment, 'reference' | 'orderId'>): Promise<void> {
    await this.sql.transaction(async (tx) => {
      const order = await this.orders.lockUnpaid(tx, orderId);
      const [paid] = await tx.query<Pick<Payment, 'buyerId' | 'cents'>>(
        `UPDATE mall_payment SET status = 'paid' WHERE reference = $1::uuid AND status <> 'void'
         RETURNING buyer_id AS "buyerId", cents`,
        [reference],
      );
      if (!paid) throw new Error(`The bank has charged ${reference}, which it had said to be void`);
      await tx.execute(
        `INSERT INTO mall_ledger_entry (reference, account, cents)
         VALUES ($1::uuid, 'bank', $2::bigint), ($1::uuid, $3, -$2::bigint) ON CONFLICT DO NOTHING`,
        [reference, paid.cents, `buyer:${paid.buyerId}`],
      );
      if (!order) {
        if ((await this.orders.statusOf(tx, orderId)) !== 'paid') this.reportWithoutOrder(reference, orderId);
        return;
      }
      await this.orders.setStatus(tx, orderId, 'paid');
      await this.events.tell(tx, { ...order, kind: 'paid' });
    });
  }

  /**
   * Notes that the bank has not charged it and never will: from then on the order can be paid by another attempt, or
   * released. An attempt that was not noted yet is noted as void, so that whoever stood still in between cannot open it.
   */
  async void({ reference, requestId, orderId, buyerId }: PaymentAttempt): Promise<void> {
    const text = `INSERT INTO mall_payment (reference, request_id, order_id, buyer_id, cents, status)
      SELECT $1::uuid, $2, id, buyer_id, total_cents, 'void' FROM mall_order
      WHERE id = $3::uuid AND buyer_id = $4 FOR UPDATE
      ON CONFLICT (reference) DO UPDATE SET status = 'void' WHERE mall_payment.status = 'asked'`;
    await this.sql.transaction((tx) => tx.execute(text, [reference, requestId, orderId, buyerId]));
  }

  /** An order is not released while it may be paid, so this tells of a fault: the buyer's money is here for nothing. */
  private reportWithoutOrder(reference: string, orderId: string): void {
    this.incidents.report({
      code: 'MALL_PAID_WITHOUT_ORDER',
      source: 'mall.payments',
      message: 'a charge was booked for an order that is released or gone: pay it back',
      fields: { reference, orderId },
    });
  }

  /** What lies with the bank, and what all accounts are together, which is nothing. */
  async ledger(): Promise<{ readonly bankCents: number; readonly sumCents: number }> {
    const [row] = await this.sql.query<{ bank: string; sum: string }>(
      `SELECT coalesce(sum(cents) FILTER (WHERE account = 'bank'), 0)::text AS bank,
         coalesce(sum(cents), 0)::text AS sum FROM mall_ledger_entry`,
    );
    return { bankCents: Number(row?.bank), sumCents: Number(row?.sum) };
  }
}
