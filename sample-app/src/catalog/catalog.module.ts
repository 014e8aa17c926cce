import { type DynamicModule, Module } from '@nestjs/common';
import { CatalogController } from './catalog.controller.js';
import { CatalogService } from './catalog.service.js';
import { WAREHOUSE_TOKEN } from './warehouse.guard.js';

/** All floors of the mall look things up in the catalogue. */
@Module({ controllers: [CatalogController], providers: [CatalogService], exports: [CatalogService] })
export class CatalogModule {
  static forWarehouse(token: string): DynamicModule {
    return { module: CatalogModule, global: true, providers: [{ provide: WAREHOUSE_TOKEN, useValue: token }] };
  }
}
