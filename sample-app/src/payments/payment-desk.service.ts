import { IdempotencyService } from '@lockstep/idempotency';
import { GatewayTimeoutException, Inject, Injectable, NotFoundException } from '@nestjs/common';
import { BankClient } from './bank.client.js';
import { type PaymentAttempt, receiptOf, type UncertainPayment } from './payment.js';
import { PaymentRepository } from './payment.repository.js';

const PAYING = 'POST /orders/:order/payment';
const MOST = 1_000;
const PAID_STATUS = 201;

/** Where operators clear up what became of payments that nobody knows of. */
@Injectable()
export class PaymentDesk {
  constructor(
    @Inject(IdempotencyService) private readonly operations: IdempotencyService,
    @Inject(PaymentRepository) private readonly payments: PaymentRepository,
    @Inject(BankClient) private readonly bank: BankClient,
  ) {}

  /** Oldest first. */
  async list(): Promise<readonly UncertainPayment[]> {
    const uncertain = await this.operations.listUncertain(MOST);
    const payments = await this.payments.findByRequests(uncertain.map(({ id }) => id));
    return uncertain.map(({ id, operation, sinceAt }) => ({
      id,
      operation,
      since: new Date(sinceAt).toISOString(),
      payment: payments.get(id),
    }));
  }

  /**
   * Asks the bank and settles: the repetition of a charged payment gets its receipt, that of another one may pay. The
   * books come first; whoever does this again after a crash in between does the rest.
   */
  async clearUp(id: string): Promise<'paid' | 'void'> {
    const found = (await this.list()).find((one) => one.id === id && one.operation === PAYING);
    if (!found) throw new NotFoundException(`No uncertain payment ${id}`);
    const { payment } = found;
    // It is noted before the bank is asked: without a note it was not asked.
    if (!payment || (await this.ask({ ...payment, requestId: id })) === 'void') {
      await this.operations.resolve(id, { to: 'released' });
      return 'void';
    }
    await this.operations.resolve(id, { to: 'completed', answer: { status: PAID_STATUS, body: receiptOf(payment) } });
    return 'paid';
  }

  private async ask(payment: PaymentAttempt): Promise<'paid' | 'void'> {
    const outcome = await this.bank.close(payment.reference);
    if (outcome === 'unknown') throw new GatewayTimeoutException('The bank did not answer in time');
    if (outcome === 'void') {
      await this.payments.void(payment);
      return 'void';
    }
    await this.payments.book(payment);
    return 'paid';
  }
}
