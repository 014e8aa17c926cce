import { OnSessionStoreDown } from '@lockstep/session';
import { Body, Controller, Get, Inject, Param, Put, UseGuards } from '@nestjs/common';
import { CatalogService } from './catalog.service.js';
import type { Product } from './product.js';
import { ProductPipe, SkuPipe } from './product.pipe.js';
import { WarehouseGuard } from './warehouse.guard.js';

/** Whoever only looks around is served as a visitor while the sessions are down. */
@Controller('products')
@OnSessionStoreDown('anonymous')
export class CatalogController {
  constructor(@Inject(CatalogService) private readonly catalog: CatalogService) {}

  @Get()
  list(): Promise<Product[]> {
    return this.catalog.list();
  }

  @Get(':sku')
  find(@Param('sku', SkuPipe) sku: string): Promise<Product> {
    return this.catalog.find(sku);
  }

  @Put(':sku')
  @UseGuards(WarehouseGuard)
  async put(@Param('sku', SkuPipe) sku: string, @Body(ProductPipe) body: Omit<Product, 'sku'>): Promise<Product> {
    const product = { ...body, sku };
    await this.catalog.put(product);
    return product;
  }
}
