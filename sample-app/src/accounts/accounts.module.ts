import { Module } from '@nestjs/common';
import { BuyerGuard } from './buyer.guard.js';

@Module({ providers: [BuyerGuard], exports: [BuyerGuard] })
export class AccountsModule {}
