import { type DynamicModule, Module } from '@nestjs/common';
import { CatalogController } from './catalog.controller.js';
import { CatalogService } from './catalog.service.js';
import { WAREHOUSE_TOKEN } from './warehouse.guard.js';

@Module({ controllers: [CatalogController], providers: [CatalogService] })
export class CatalogModule {
  static forWarehouse(token: string): DynamicModule {
    return { module: CatalogModule, providers: [{ provide: WAREHOUSE_TOKEN, useValue: token }] };
  }
}
