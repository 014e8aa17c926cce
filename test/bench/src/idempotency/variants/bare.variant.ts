import { Body, Controller, type DynamicModule, Post } from '@nestjs/common';
import { newOrder, type Order, type OrderRequest } from './order.js';

@Controller('orders')
class OrdersController {
  @Post()
  place(@Body() request: OrderRequest): Order {
    return newOrder(request);
  }
}

class BareModule {}

/** No guarantee at all: what HTTP itself costs. */
export function bareVariant(): DynamicModule {
  return { module: BareModule, controllers: [OrdersController] };
}
