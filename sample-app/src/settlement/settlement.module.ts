import { type DynamicModule, Module } from '@nestjs/common';
import { OPERATOR_TOKEN } from '../accounts/operator.guard.js';
import { SchemaModule } from '../platform/schema.module.js';
import { MerchantAccountRepository } from './merchant-account.repository.js';
import { SettlementController } from './settlement.controller.js';
import { SettlementService } from './settlement.service.js';

@Module({
  imports: [SchemaModule],
  controllers: [SettlementController],
  providers: [MerchantAccountRepository, SettlementService],
})
export class SettlementModule {
  static forOperators(token: string): DynamicModule {
    return { module: SettlementModule, providers: [{ provide: OPERATOR_TOKEN, useValue: token }] };
  }
}
