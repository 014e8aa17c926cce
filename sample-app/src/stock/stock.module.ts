import { Module } from '@nestjs/common';
import { StockService } from './stock.service.js';
import { WarehouseService } from './warehouse.service.js';

@Module({ providers: [StockService, WarehouseService], exports: [StockService] })
export class StockModule {}
