import 'reflect-metadata';
import { IdempotencyModule, Idempotent } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { RedisModule } from '@lockstep/redis';
import { eventually, freePort } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import { Controller, type INestMicroservice, UseInterceptors } from '@nestjs/common';
import {
  type ClientProxy,
  ClientProxyFactory,
  Ctx,
  EventPattern,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  TcpContext,
  Transport,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { finalize, lastValueFrom } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SECRET } from './support/http-app.js';

const redis = useRedis();

interface Charge {
  readonly id: string;
  readonly amount: number;
}

const runs: string[] = [];
let gate: Promise<unknown> = Promise.resolve();

@Controller()
class Payments {
  @MessagePattern('charge')
  @Idempotent({ key: (charge: Charge) => charge.id, scope: 'global' })
  async charge(charge: Charge): Promise<{ charged: number; run: number }> {
    runs.push(charge.id);
    await gate;
    return { charged: charge.amount, run: runs.length };
  }

  @Idempotent({ key: (_context: TcpContext, charge: Charge) => charge.id, scope: 'global' })
  @MessagePattern('refund')
  async refund(@Ctx() context: TcpContext, @Payload() charge: Charge): Promise<string> {
    runs.push(`${charge.id} ${context instanceof TcpContext}`);
    throw new Error('the bank did not answer');
  }
}

let opened: { close(): unknown }[] = [];
beforeEach(() => {
  runs.length = 0;
  gate = Promise.resolve();
});
afterEach(async () => {
  await Promise.all(opened.map((it) => it.close()));
  opened = [];
});

async function serve(
  options: MicroserviceOptions,
  controller: typeof Payments | typeof Events,
): Promise<INestMicroservice> {
  const module = await Test.createTestingModule({
    controllers: [controller],
    imports: [
      RedisModule.forRoot({ url: redis.url, namespace: redis.prefix }),
      IdempotencyModule.forRoot({ store: redisIdempotencyStore(), scope: 'global', secret: SECRET }),
    ],
  }).compile();
  const app = module.createNestMicroservice<MicroserviceOptions>({ ...options, logger: false });
  await app.listen();
  opened.push(app);
  return app;
}

describe('@Idempotent on a handler of messages with an answer', () => {
  async function connect(): Promise<(pattern: string, data: Charge) => Promise<unknown>> {
    const options = { transport: Transport.TCP as const, options: { host: '127.0.0.1', port: await freePort() } };
    await serve(options, Payments);
    const client = ClientProxyFactory.create(options);
    opened.push(client);
    return (pattern, data) => lastValueFrom(client.send(pattern, data)).catch((error: unknown) => error);
  }

  it('handles a message once and gives every redelivery the first answer', async () => {
    const send = await connect();
    const charge = { id: 'rpc-1', amount: 5 };
    expect([await send('charge', charge), await send('charge', charge)]).toEqual([
      { charged: 5, run: 1 },
      { charged: 5, run: 1 },
    ]);
    expect(runs).toEqual(['rpc-1']);
  });

  it('answers what is still running, what was reused and what nobody knows as errors with a code', async () => {
    const send = await connect();
    let open = (): void => undefined;
    gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const first = send('charge', { id: 'rpc-2', amount: 5 });
    await eventually(() => expect(runs).toHaveLength(1));
    expect(await send('charge', { id: 'rpc-2', amount: 5 })).toMatchObject({
      status: 'error',
      code: 'OPERATION_IN_PROGRESS',
      kind: 'busy',
      retryable: true,
      retryAfterMs: expect.any(Number),
    });
    open();
    await first;
    expect(await send('charge', { id: 'rpc-2', amount: 6 })).toMatchObject({
      code: 'IDEMPOTENCY_KEY_REUSED',
      retryable: false,
    });
    await send('refund', { id: 'rpc-3', amount: 5 });
    expect(await send('refund', { id: 'rpc-3', amount: 5 })).toMatchObject({
      code: 'OPERATION_UNCERTAIN',
      kind: 'unknown',
      safeNewKey: false,
    });
    expect(runs).toEqual(['rpc-2', 'rpc-3 true']);
  });
});

let settled = 0;

@Controller()
class Events {
  @EventPattern('paid')
  @UseInterceptors({
    intercept: (_context, next) =>
      next.handle().pipe(
        finalize(() => {
          settled += 1;
        }),
      ),
  })
  @Idempotent({ key: (charge: Charge) => charge.id, scope: 'global' })
  async paid(charge: Charge): Promise<void> {
    runs.push(charge.id);
  }
}

describe('@Idempotent on a handler of events', () => {
  it('handles an event once that every instance hears, also when it is sent again', async () => {
    const { hostname: host, port } = new URL(redis.url);
    const options = { transport: Transport.REDIS as const, options: { host, port: Number(port) } };
    await serve(options, Events);
    await serve(options, Events);
    const client: ClientProxy = ClientProxyFactory.create(options);
    opened.push(client);
    const event = { id: `${redis.prefix}:event`, amount: 5 };
    for (const times of [1, 2, 3]) {
      await lastValueFrom(client.emit('paid', event), { defaultValue: null });
      await eventually(() => expect(settled).toBe(2 * times));
    }
    expect(runs).toEqual([event.id]);
  });
});
