import { Controller, Get, HttpCode, Inject, NotFoundException, Param, Post, UseGuards } from '@nestjs/common';
import { OperatorGuard } from '../accounts/operator.guard.js';
import { MerchantPipe } from '../catalog/product.pipe.js';
import { MerchantAccountRepository } from './merchant-account.repository.js';
import type { MerchantAccount, Settlement } from './settlement.js';
import { SettlementService } from './settlement.service.js';

type Run = ({ readonly status: 'done' } & Settlement) | { readonly status: 'skipped' };

@Controller('settlement')
@UseGuards(OperatorGuard)
export class SettlementController {
  constructor(
    @Inject(SettlementService) private readonly settlement: SettlementService,
    @Inject(MerchantAccountRepository) private readonly accounts: MerchantAccountRepository,
  ) {}

  /** What the night does, at once: for the morning after a night that failed. Repeating it pays nobody twice. */
  @Post('run')
  @HttpCode(200)
  async run(): Promise<Run> {
    const settled = await this.settlement.settle();
    return settled ? { status: 'done', ...settled } : { status: 'skipped' };
  }

  @Get('accounts/:merchant')
  async account(@Param('merchant', MerchantPipe) merchant: string): Promise<MerchantAccount> {
    const account = await this.accounts.find(merchant);
    if (!account) throw new NotFoundException(`No merchant ${merchant}`);
    return account;
  }
}
