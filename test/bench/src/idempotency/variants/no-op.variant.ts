import {
  Body,
  type CallHandler,
  Controller,
  type DynamicModule,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  Post,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import type { Observable } from 'rxjs';
import { newOrder, type Order, type OrderRequest } from './order.js';

@Injectable()
class NoOpInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle();
  }
}

@Controller('orders')
class OrdersController {
  @Post()
  async place(@Body() request: OrderRequest): Promise<Order> {
    return newOrder(request);
  }
}

class NoOpModule {}

/** A global interceptor that does nothing: what it costs that there is one. */
export function noOpVariant(): DynamicModule {
  return {
    module: NoOpModule,
    controllers: [OrdersController],
    providers: [{ provide: APP_INTERCEPTOR, useClass: NoOpInterceptor }],
  };
}
