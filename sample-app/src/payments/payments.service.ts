import { randomUUID } from 'node:crypto';
import { checkpoint } from '@lockstep/core';
import { NotApplied, OutcomeUnknown } from '@lockstep/idempotency';
import { MessageAlreadyRolledBackError, OnMessage, TransactionalMessage } from '@lockstep/outbox';
import {
  ConflictException,
  GatewayTimeoutException,
  Inject,
  Injectable,
  NotFoundException,
  ServiceUnavailableException,
} from '@nestjs/common';
import { BankClient } from './bank.client.js';
import { NothingChargedError } from './nothing-charged.error.js';
import {
  PAYMENT_CHARGED,
  type Payment,
  type PaymentAttempt,
  type PayOrder,
  type Receipt,
  receiptOf,
} from './payment.js';
import { PaymentRepository } from './payment.repository.js';

/**
 * Lets buyers pay. An attempt has a reference of its own, at the bank and in `mall_payment`:
 *
 * ```
 * (nothing) --message prepared--> (nothing) --order locked, row written--> asked --the bank has charged--> paid, order paid
 *                                                                                --refused, or never sent--> void
 *                                                                                --no answer, or killed: check-back--> paid | void
 *           --killed, or stands still: check-back--> void, so that it can be opened no more
 * order: placed --paid--> paid   --nobody pays, no row but void ones--> released
 * ```
 * The bank decides: a reference is charged or closed there, once and for good, and `paid` and `void` are written after it.
 * The message comes before the row, so that no row is `asked` without a check-back that will end it; where the bank stays
 * away for all checks, the message is parked, and its row waits for an operator: by `resume`, or by the clearing up.
 *
 * | race | who wins |
 * |---|---|
 * | a charge under way, and the check-back | who is first at the bank: a charge that comes after the closing is refused there, one that came before is booked |
 * | two payers | the unique index lets one row be `asked` or `paid`; the other gets 409, or the receipt; after a void each may try |
 * | a payer, and the release | the order's row: released first, there is no row to open; opened first, it is looked at again later |
 * | two that book, or void, the same | the row: the second one changes nothing |
 *
 * | killed | what the check-back finds |
 * |---|---|
 * | before the message is prepared | nothing: nothing was done |
 * | before the row, or before the bank is asked | never charged: closes, voids, drops the message |
 * | the charge under way or made, not booked | what the bank says: books by the message, or voids |
 * | booked, the message open | charged: publishes; its consumer finds it booked |
 * | in the check-back: closed, not void; void, the message open | the same again: each step repeats without a change |
 */
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
    const payment = await this.payments.findOf(request.orderId, request.buyerId);
    if (payment) return paidBefore(payment);
    try {
      return await this.charge({ ...request, reference: randomUUID() });
    } catch (error) {
      // Its message is refused after the work alone: what was charged then is for the bank to tell.
      if (error instanceof MessageAlreadyRolledBackError) throw new OutcomeUnknown(error);
      if (!(error instanceof NothingChargedError)) throw error;
      return this.afterNothing(error, request);
    }
  }

  /**
   * The bank's work, which no transaction of ours can hold. The message about it is prepared first: whoever dies in here,
   * and whoever loses the bank's answer, leaves it to the check-back, which asks the bank and books what it has charged.
   *
   * @throws NothingChargedError at which the message is dropped at once
   */
  @TransactionalMessage(PAYMENT_CHARGED, {
    key: (attempt: PaymentAttempt) => attempt.orderId,
    check: 'askBank',
    checkEvery: '10s',
    maxTransactionAge: '10s',
  })
  async charge(attempt: PaymentAttempt): Promise<Receipt> {
    const payment = await this.payments.open(attempt);
    if (!payment) throw new NothingChargedError('order');
    checkpoint('mall.payment.opened', { reference: payment.reference });
    try {
      return await this.letCharge(attempt, payment);
    } catch (error) {
      // The money may have moved: what goes wrong from here on is for the bank to tell, and not to be tried again.
      throw error instanceof NothingChargedError ? error : new OutcomeUnknown(error);
    }
  }

  /**
   * Has the bank close the charge: what it has not charged by now it never will, so that a void is no guess, and is noted
   * before the message is dropped: nobody asks again afterwards.
   */
  async askBank(_messageId: string, attempt: PaymentAttempt): Promise<'commit' | 'rollback' | 'unknown'> {
    const outcome = await this.bank.close(attempt.reference);
    if (outcome === 'unknown') return 'unknown';
    if (outcome === 'charged') return 'commit';
    await this.payments.void(attempt);
    return 'rollback';
  }

  /** Books what the process did not live to book; the row knows whether it is booked. */
  @OnMessage(PAYMENT_CHARGED, { consumer: 'payments' })
  async bookCharged(attempt: PaymentAttempt): Promise<void> {
    await this.payments.book(attempt);
  }

  private async letCharge(attempt: PaymentAttempt, payment: Payment): Promise<Receipt> {
    switch (await this.bank.charge(payment.reference, payment.cents)) {
      case 'charged':
        checkpoint('mall.payment.charged', { reference: payment.reference });
        await this.payments.book(payment);
        return receiptOf(payment);
      case 'unknown':
        throw new GatewayTimeoutException('The bank did not answer in time');
      case 'refused':
      case 'not-sent':
        await this.payments.void(attempt);
        throw new NothingChargedError('bank');
    }
  }

  /** The order may have been paid under another key by now. */
  private async afterNothing({ because }: NothingChargedError, { orderId, buyerId }: PayOrder): Promise<Receipt> {
    const payment = because === 'order' ? await this.payments.findOf(orderId, buyerId) : undefined;
    if (payment) return paidBefore(payment);
    // Also where the attempt that was in the way, or this one, has become void meanwhile.
    if (because === 'bank' || (await this.payments.isPayable(orderId, buyerId))) {
      throw new NotApplied(new ServiceUnavailableException('The bank did not take the charge; nothing was paid'));
    }
    throw new NotFoundException({ code: 'NO_SUCH_ORDER', message: `No order ${orderId}` });
  }
}

/** The order was paid under another key, or may have been. */
function paidBefore(payment: Payment): Receipt {
  if (payment.status === 'paid') return receiptOf(payment);
  throw new ConflictException({ code: 'PAYMENT_PENDING', message: 'Somebody is paying this order already' });
}
