import { Module } from '@nestjs/common';
import { AccountsModule } from '../accounts/accounts.module.js';
import { StockModule } from '../stock/stock.module.js';
import { OrderRepository } from './order.repository.js';
import { OrderEvents } from './order-events.js';
import { OrdersController } from './orders.controller.js';
import { OrdersService } from './orders.service.js';
import { UnpaidOrders } from './unpaid-orders.service.js';

@Module({
  imports: [AccountsModule, StockModule],
  controllers: [OrdersController],
  providers: [OrderEvents, OrderRepository, OrdersService, UnpaidOrders],
  exports: [OrderEvents, OrderRepository, OrdersService],
})
export class OrdersModule {}
