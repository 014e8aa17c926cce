import 'reflect-metadata';
import { CoreModule } from '@lockstep/core';
import { freePort } from '@lockstep/testing';
import {
  Body,
  type CanActivate,
  ConflictException,
  Controller,
  type ExecutionContext,
  Get,
  Global,
  HttpCode,
  Inject,
  Module,
  Param,
  ParseIntPipe,
  Post,
  Scope,
  SetMetadata,
  UseGuards,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import {
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { lastValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { PLATFORMS, serve } from './support/platforms.js';
import { Recorded, Recorder } from './support/recorded.decorator.js';

@Global()
@Module({ imports: [CoreModule], providers: [Recorder], exports: [Recorder] })
class RecorderModule {}

/** Lets in only handlers that carry the metadata: lost metadata is a 403. */
class NeedsRole implements CanActivate {
  constructor(@Inject(Reflector) private readonly reflector: Reflector) {}
  canActivate(context: ExecutionContext): boolean {
    return this.reflector.get('role', context.getHandler()) === 'buyer';
  }
}

@Controller('orders')
class OrdersController {
  @Get(':id')
  @HttpCode(202)
  @SetMetadata('role', 'buyer')
  @UseGuards(NeedsRole)
  @Recorded({ key: (id: number) => typeof id })
  async nestAbove(@Param('id', ParseIntPipe) id: number): Promise<object> {
    return { id };
  }

  @Recorded({ key: (order: { sku: string }) => order.sku })
  @Post()
  @HttpCode(202)
  @SetMetadata('role', 'buyer')
  @UseGuards(NeedsRole)
  async nestBelow(@Body() order: { sku: string }): Promise<object> {
    if (order.sku === 'none') throw new ConflictException('sold out');
    return order;
  }
}

@Controller({ path: 'scoped', scope: Scope.REQUEST })
class ScopedController {
  @Recorded()
  @Get()
  async get(): Promise<string> {
    return 'scoped';
  }
}

@Controller()
class OrderMessages {
  @MessagePattern('above')
  @Recorded({ key: (sku: string) => sku })
  async above(@Payload() sku: string): Promise<string> {
    return `above ${sku}`;
  }

  @Recorded({ key: (sku: string) => sku })
  @MessagePattern('below')
  async below(@Payload() sku: string): Promise<string> {
    return `below ${sku}`;
  }
}

describe.each(PLATFORMS)('a guarded controller on %s', (platform) => {
  it('keeps routes, guards, pipes, statuses and errors on either side of the guarantee', async () => {
    const { app, url } = await serve(platform, {
      imports: [RecorderModule],
      controllers: [OrdersController, ScopedController],
    });
    const post = (order: object) =>
      fetch(`${url}/orders`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(order),
      });
    const above = await fetch(`${url}/orders/7`);
    expect([above.status, await above.json()]).toEqual([202, { id: 7 }]);
    const below = await post({ sku: 'a' });
    expect([below.status, await below.json()]).toEqual([202, { sku: 'a' }]);
    const refused = await post({ sku: 'none' });
    expect([refused.status, await refused.json()]).toMatchObject([409, { message: 'sold out' }]);
    expect(await fetch(`${url}/scoped`).then((response) => response.text())).toBe('scoped');
    expect(app.get(Recorder).calls).toEqual([
      'Recorded:OrdersController.nestAbove(number)',
      'Recorded:OrdersController.nestBelow(a)',
      'Recorded:OrdersController.nestBelow(none)',
      'Recorded:ScopedController.get',
    ]);
    await app.close();
  });
});

it('a guarded handler of RPC messages is found and called on either side of the guarantee', async () => {
  const options = { transport: Transport.TCP as const, options: { host: '127.0.0.1', port: await freePort() } };
  const module = await Test.createTestingModule({ imports: [RecorderModule], controllers: [OrderMessages] }).compile();
  const app = module.createNestMicroservice<MicroserviceOptions>({ ...options, logger: false });
  await app.listen();
  const client = ClientProxyFactory.create(options);
  expect(await lastValueFrom(client.send('above', 'x'))).toBe('above x');
  expect(await lastValueFrom(client.send('below', 'y'))).toBe('below y');
  expect(module.get(Recorder).calls).toEqual(['Recorded:OrderMessages.above(x)', 'Recorded:OrderMessages.below(y)']);
  client.close();
  await app.close();
});
