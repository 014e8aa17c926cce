import { Controller, Get, HttpCode, Inject, Param, Post, UseGuards } from '@nestjs/common';
import { OperatorGuard } from '../accounts/operator.guard.js';
import type { UncertainPayment } from './payment.js';
import { PaymentRepository } from './payment.repository.js';
import { PaymentDesk } from './payment-desk.service.js';

@Controller('payments')
@UseGuards(OperatorGuard)
export class PaymentDeskController {
  constructor(
    @Inject(PaymentDesk) private readonly desk: PaymentDesk,
    @Inject(PaymentRepository) private readonly payments: PaymentRepository,
  ) {}

  @Get('uncertain')
  list(): Promise<readonly UncertainPayment[]> {
    return this.desk.list();
  }

  /** Asks the bank what became of it. Repeating it changes nothing. */
  @Post('uncertain/:id/clear-up')
  @HttpCode(200)
  async clearUp(@Param('id') id: string): Promise<{ readonly status: 'paid' | 'void' }> {
    return { status: await this.desk.clearUp(id) };
  }

  @Get('ledger')
  ledger(): Promise<{ readonly bankCents: number; readonly sumCents: number }> {
    return this.payments.ledger();
  }
}
