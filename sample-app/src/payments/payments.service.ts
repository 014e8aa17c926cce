import { randomUUID } from 'node:crypto';
import { checkpoint } from '@lockstep/core';
import { NotApplied, OutcomeUnknown } from '@lockstep/idempotency';
import { OnMessage, TransactionalMessage } from '@lockstep/outbox';
import {
  ConflictException,
  GatewayTimeoutException,
  Inject,
  Injectable,
  NotFoundException,
  ServiceUnavailableException,
} from '@nestjs/common';
import { BankClient } from './bank.client.js';
import { PAYMENT_CHARGED, type Payment, type PayOrder, type Receipt, receiptOf } from './payment.js';
import { PaymentRepository } from './payment.repository.js';

@Injectable()
export class PaymentsService {
  constructor(
    @Inject(PaymentRepository) private readonly payments: PaymentRepository,
    @Inject(BankClient) private readonly bank: BankClient,
  ) {}

  /**
   * Lets the bank charge an order, and books it.
   *
   * @throws NotApplied the bank has not charged it, and will not
   * @throws OutcomeUnknown the bank was asked and did not answer in time; nobody may try again before it was asked
   */
  async pay(request: PayOrder): Promise<Receipt> {
    const payment = await this.payments.open(randomUUID(), request);
    if (!payment) return this.paidBefore(request);
    try {
      return await this.charge(payment);
    } catch (error) {
      // The money may have moved: what goes wrong from here on is for the bank to tell, and not to be tried again.
      throw error instanceof NotApplied ? error : new OutcomeUnknown(error);
    }
  }

  /**
   * The bank's work, which no transaction of ours can hold. The message about it is prepared first: whoever dies in here,
   * and whoever loses the bank's answer, leaves it to the check-back, which asks the bank and books what it has charged.
   */
  @TransactionalMessage(PAYMENT_CHARGED, {
    key: (payment: Payment) => payment.orderId,
    check: 'askBank',
    checkEvery: '10s',
    maxTransactionAge: '10s',
  })
  async charge(payment: Payment): Promise<Receipt> {
    switch (await this.bank.charge(payment.reference, payment.cents)) {
      case 'charged':
        checkpoint('mall.payment.charged', { reference: payment.reference });
        await this.payments.book(payment);
        return receiptOf(payment);
      case 'unknown':
        throw new GatewayTimeoutException('The bank did not answer in time');
      case 'refused':
      case 'not-sent':
        await this.payments.void(payment);
        throw new NotApplied(new ServiceUnavailableException('The bank did not take the charge; nothing was paid'));
    }
  }

  /** Has the bank close the charge: what it has not charged by now it never will, so that a void is no guess. */
  async askBank(_messageId: string, { reference }: Payment): Promise<'commit' | 'rollback' | 'unknown'> {
    const outcome = await this.bank.close(reference);
    if (outcome === 'unknown') return 'unknown';
    return outcome === 'charged' ? 'commit' : 'rollback';
  }

  /** Books what the process did not live to book; the row knows whether it is booked. */
  @OnMessage(PAYMENT_CHARGED, { consumer: 'payments' })
  async bookCharged(payment: Payment): Promise<void> {
    await this.payments.book(payment);
  }

  /** The order was paid under another key, or may have been. */
  private async paidBefore({ orderId, buyerId }: PayOrder): Promise<Receipt> {
    const payment = await this.payments.findOf(orderId, buyerId);
    if (!payment) throw new NotFoundException({ code: 'NO_SUCH_ORDER', message: `No order ${orderId}` });
    if (payment.status === 'paid') return receiptOf(payment);
    throw new ConflictException({ code: 'PAYMENT_PENDING', message: 'Somebody is paying this order already' });
  }
}
