import {
  Body,
  type CallHandler,
  ConflictException,
  Controller,
  type DynamicModule,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  Post,
  UseInterceptors,
} from '@nestjs/common';
import { Redis } from 'ioredis';
import { mergeMap, type Observable, of } from 'rxjs';
import { newOrder, type Order, type OrderRequest, RETENTION_MS } from './order.js';

const PENDING = 'pending';

/** As many commands as ours (2 first, 1 replay) and nothing else: no lease, no owner, no fingerprint, no scope. */
@Injectable()
class RawIdempotency implements NestInterceptor {
  constructor(private readonly redis: Redis) {}

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string> }>();
    const key = `raw:${headers['idempotency-key']}`;
    const known = await this.redis.set(key, PENDING, 'PX', RETENTION_MS, 'NX', 'GET');
    if (known === PENDING) throw new ConflictException();
    if (known !== null) return of(JSON.parse(known));
    const store = async (body: unknown): Promise<unknown> => {
      await this.redis.set(key, JSON.stringify(body), 'PX', RETENTION_MS);
      return body;
    };
    return next.handle().pipe(mergeMap(store));
  }
}

@Controller('orders')
class OrdersController {
  @Post()
  @UseInterceptors(RawIdempotency)
  place(@Body() request: OrderRequest): Order {
    return newOrder(request);
  }
}

class RawModule {}

export function rawVariant(redisUrl: string): DynamicModule {
  return {
    module: RawModule,
    controllers: [OrdersController],
    providers: [{ provide: Redis, useFactory: () => new Redis(redisUrl) }],
  };
}
