import { CurrentSession, type SessionRef } from '@lockstep/session';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post } from '@nestjs/common';
import { CatalogService } from '../catalog/catalog.service.js';
import { SkuPipe } from '../catalog/product.pipe.js';
import { OrderBodyPipe } from '../orders/order.pipe.js';
import { type CartLine, type CartLines, lineList } from './cart.js';
import { CartService } from './cart.service.js';

interface CartView {
  readonly of: 'visitor' | 'customer';
  readonly lines: readonly CartLine[];
}

/** For visitors and customers. */
@Controller('cart')
export class CartController {
  constructor(
    @Inject(CartService) private readonly carts: CartService,
    @Inject(CatalogService) private readonly catalog: CatalogService,
  ) {}

  @Get()
  async read(@CurrentSession() session: SessionRef): Promise<CartView> {
    return view(session, await this.carts.read(session));
  }

  @Post('items')
  @HttpCode(200)
  async add(@CurrentSession() session: SessionRef, @Body(OrderBodyPipe) line: CartLine): Promise<CartView> {
    await this.catalog.find(line.sku);
    return view(session, await this.carts.add(session, line));
  }

  @Delete('items/:sku')
  async remove(@CurrentSession() session: SessionRef, @Param('sku', SkuPipe) sku: string): Promise<CartView> {
    return view(session, await this.carts.remove(session, sku));
  }
}

function view({ principal }: SessionRef, lines: CartLines): CartView {
  return { of: principal ? 'customer' : 'visitor', lines: lineList(lines) };
}
