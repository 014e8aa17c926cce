import { Module } from '@nestjs/common';
import { AccountsModule } from '../accounts/accounts.module.js';
import { CouponsController } from './coupons.controller.js';
import { CouponsService } from './coupons.service.js';

@Module({ imports: [AccountsModule], controllers: [CouponsController], providers: [CouponsService] })
export class CouponsModule {}
