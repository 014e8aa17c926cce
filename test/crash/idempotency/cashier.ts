import { setTimeout as sleep } from 'node:timers/promises';
import { checkpoint } from '@lockstep/core';
import {
  type AbandonedOperation,
  currentIdempotency,
  IdempotencyCompleter,
  type IdempotencyContext,
  type KnownOutcome,
  NotApplied,
  OutcomeUnknown,
} from '@lockstep/idempotency';
import { ConflictException, HttpException, Inject, Injectable, ServiceUnavailableException } from '@nestjs/common';
import { sharedMs } from '../lock/shared-clock.js';
import { Bank, StaleChargeError } from './bank.js';
import { type Order, ROUTES } from './routes.js';

const PAYMENT_REQUIRED = 402;

export interface Receipt {
  readonly id: string;
  readonly amount: number;
}

/** Does what an order says, and tells the bank of every step it takes. */
@Injectable()
export class Cashier {
  constructor(@Inject(Bank) private readonly bank: Bank) {}

  async serve(order: Order, sentAt: number): Promise<Receipt> {
    const context = currentIdempotency();
    if (!context) throw new Error('the handler runs outside of an idempotent operation');
    await this.bank.noteRun({ key: order.key, fence: context.fence, sentAt, at: sharedMs() });
    checkpoint('handler');
    try {
      return await this.work(order, context);
    } catch (error) {
      if (error instanceof StaleChargeError) throw new ConflictException({ code: 'STALE_CHARGE' });
      throw error;
    }
  }

  /** Goes on where the run broke off that was abandoned. */
  @IdempotencyCompleter('POST /recovered')
  async complete(abandoned: AbandonedOperation): Promise<KnownOutcome> {
    const order = abandoned.step<Order>('order');
    // The charge comes after this step, so there was none.
    if (!order) throw new NotApplied(new Error('it had not begun'));
    await this.bank.noteRun({ key: order.key, fence: abandoned.fence, sentAt: undefined, at: sharedMs() });
    checkpoint('completer');
    const receipt = await this.inSteps(order, abandoned);
    return { answer: { status: 201, body: receipt, headers: { location: locationOf(receipt) } } };
  }

  private async work(order: Order, context: IdempotencyContext): Promise<Receipt> {
    if (order.kind === 'decline') throw new HttpException({ code: 'DECLINED', key: order.key }, PAYMENT_REQUIRED);
    if (ROUTES[order.route].completes) await context.phase('order', async () => order);
    if (order.kind === 'steps' || ROUTES[order.route].completes) return this.inSteps(order, context);
    const id = await this.charge(order, 'charge', context);
    checkpoint('charged');
    await sleep(order.thinkMs);
    if (order.kind === 'unknown')
      throw new OutcomeUnknown(new ServiceUnavailableException({ code: 'OUTCOME_UNKNOWN' }));
    return { id, amount: order.amount };
  }

  private async inSteps(order: Order, context: IdempotencyContext): Promise<Receipt> {
    const id = await this.step(order, 'charge', context);
    await sleep(order.thinkMs);
    await this.step(order, 'ship', context);
    return { id, amount: order.amount };
  }

  private async step(order: Order, step: string, context: IdempotencyContext): Promise<string> {
    const { key } = order;
    const { fence } = context;
    const id = await context.phase(step, async () => {
      await this.bank.noteStep({ key, step, fence, what: 'touched' });
      return this.charge(order, step, context);
    });
    await this.bank.noteStep({ key, step, fence, what: 'stored' });
    return id;
  }

  private charge({ key, route }: Order, step: string, { fence }: IdempotencyContext): Promise<string> {
    return ROUTES[route].isGuarded ? this.bank.chargeOnce(key, step, fence) : this.bank.charge(key, step, fence);
  }
}

export function locationOf({ id }: Receipt): string {
  return `/charges/${id}`;
}
