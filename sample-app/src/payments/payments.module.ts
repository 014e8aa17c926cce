import { type DynamicModule, Module } from '@nestjs/common';
import { AccountsModule } from '../accounts/accounts.module.js';
import { OPERATOR_TOKEN } from '../accounts/operator.guard.js';
import { OrdersModule } from '../orders/orders.module.js';
import { BANK_URL, BankClient } from './bank.client.js';
import { PaymentRepository } from './payment.repository.js';
import { PaymentDeskController } from './payment-desk.controller.js';
import { PaymentDesk } from './payment-desk.service.js';
import { PaymentsController } from './payments.controller.js';
import { PaymentsService } from './payments.service.js';

@Module({
  imports: [AccountsModule, OrdersModule],
  controllers: [PaymentsController, PaymentDeskController],
  providers: [BankClient, PaymentRepository, PaymentsService, PaymentDesk],
})
export class PaymentsModule {
  static forBank(url: string, operatorToken: string): DynamicModule {
    return {
      module: PaymentsModule,
      providers: [
        { provide: BANK_URL, useValue: url },
        { provide: OPERATOR_TOKEN, useValue: operatorToken },
      ],
    };
  }
}
