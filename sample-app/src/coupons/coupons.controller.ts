import { Controller, Get, Inject, UseGuards } from '@nestjs/common';
import { Buyer } from '../accounts/buyer.decorator.js';
import { BuyerGuard } from '../accounts/buyer.guard.js';
import { type Coupon, CouponsService } from './coupons.service.js';

@Controller('coupons')
@UseGuards(BuyerGuard)
export class CouponsController {
  constructor(@Inject(CouponsService) private readonly coupons: CouponsService) {}

  @Get()
  list(@Buyer() buyerId: string): Promise<Coupon[]> {
    return this.coupons.listOf(buyerId);
  }
}
