import { Controller, Get, Inject, UseGuards } from '@nestjs/common';
import { Buyer } from '../accounts/buyer.decorator.js';
import { BuyerGuard } from '../accounts/buyer.guard.js';
import { type PointsAccount, PointsService } from './points.service.js';

@Controller('points')
@UseGuards(BuyerGuard)
export class PointsController {
  constructor(@Inject(PointsService) private readonly points: PointsService) {}

  @Get()
  account(@Buyer() buyerId: string): Promise<PointsAccount> {
    return this.points.accountOf(buyerId);
  }
}
