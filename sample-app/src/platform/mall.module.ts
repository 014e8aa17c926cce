import { bullmqTransport } from '@lockstep/bullmq';
import { isLockstepError, LockstepModule } from '@lockstep/core';
import { IdempotencyModule, principalScope } from '@lockstep/idempotency';
import { redisIdempotencyStore } from '@lockstep/idempotency/redis';
import { sqlIdempotencyStore } from '@lockstep/idempotency/sql';
import { LockModule } from '@lockstep/lock';
import { OutboxModule } from '@lockstep/outbox';
import { postgresOutboxStore, postgresRelaySignal } from '@lockstep/outbox/postgres';
import { redisRelaySignal } from '@lockstep/outbox/redis';
import { RedisModule } from '@lockstep/redis';
import { SessionModule } from '@lockstep/session';
import { SqlModule } from '@lockstep/sql';
import { pgDriver } from '@lockstep/sql/postgres';
import { type DynamicModule, Module, type Type } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { ScheduleModule } from '@nestjs/schedule';
import { AccountsModule } from '../accounts/accounts.module.js';
import { CartModule } from '../cart/cart.module.js';
import { CatalogModule } from '../catalog/catalog.module.js';
import { CheckoutModule } from '../checkout/checkout.module.js';
import { CouponsModule } from '../coupons/coupons.module.js';
import { ORDER_EVENTS } from '../orders/order.js';
import { OrdersModule } from '../orders/orders.module.js';
import { PaymentTermsModule } from '../orders/payment-terms.module.js';
import { PartnersModule } from '../partners/partners.module.js';
import { PaymentsModule } from '../payments/payments.module.js';
import { PointsModule } from '../points/points.module.js';
import { SettlementModule } from '../settlement/settlement.module.js';
import { HealthController } from './health.controller.js';
import { mallLocks, NAMESPACE } from './lock-store.js';
import type { MallConfig } from './mall.config.js';
import { SchemaModule } from './schema.module.js';
import { SchemaReadyGuard } from './schema-ready.guard.js';
import { mallSessionStore } from './session-store.js';
import { isOfMall } from './site.js';

/** The mall, put together from its configuration. What a process does is decided by its roles. */
@Module({})
export class MallModule {
  static forConfig(config: MallConfig): DynamicModule {
    return {
      module: MallModule,
      imports: [SchemaModule, ...platform(config), ...shops(config)],
      controllers: [HealthController],
      providers: [{ provide: APP_GUARD, useClass: SchemaReadyGuard }],
    };
  }
}

function platform(config: MallConfig): DynamicModule[] {
  const { redisUrl, secret } = config;
  return [
    LockstepModule.forRoot({ keyring: { current: 'k1', keys: { k1: secret } } }),
    SqlModule.forRoot({ driver: pgDriver({ url: config.databaseUrl }) }),
    ...(redisUrl ? [RedisModule.forRoot({ url: redisUrl, namespace: NAMESPACE })] : []),
    LockModule.forRoot({ store: mallLocks(config).store, ttl: config.lockTtlMs }),
    SessionModule.forRoot({
      store: mallSessionStore(config),
      keys: { current: 'k1', keys: { k1: config.sessionKey } },
      // One cookie for www and order.
      cookie: { domain: (host) => (isOfMall(host, config.domain) ? config.domain : undefined) },
      maxPerUser: { sessions: 10, policy: 'evict-oldest' },
    }),
    ScheduleModule.forRoot({ cronJobs: config.roles.has('settlement') }),
    IdempotencyModule.forRoot({
      store: redisUrl ? redisIdempotencyStore() : sqlIdempotencyStore(),
      scope: principalScope(),
      secret,
      onError: releaseWhatIsFoundAgain,
      lease: '5s',
    }),
    OutboxModule.forRoot({
      store: postgresOutboxStore(),
      transport: bullmqTransport(
        redisUrl
          ? { namespace: NAMESPACE, lockDuration: '10s', redis: { url: redisUrl } }
          : { namespace: NAMESPACE, lockDuration: '10s', postgres: { url: config.databaseUrl } },
      ),
      origin: NAMESPACE,
      topics: { [ORDER_EVENTS]: { ordered: 'strict' } },
      // What one process commits, the relay of another one takes at once.
      wakeUp: redisUrl ? redisRelaySignal() : postgresRelaySignal(),
      leaseTtl: '5s',
      redeliverAfter: '10s',
      run: { relay: config.roles.has('relay'), consumers: config.roles.has('consumer') },
    }),
  ];
}

/** Whether an order of unknown outcome was placed, its row tells: the request comes again and finds it, or places it. */
function releaseWhatIsFoundAgain(error: unknown): 'release' | undefined {
  return isLockstepError(error) && error.kind === 'unknown' ? 'release' : undefined;
}

function shops(config: MallConfig): (DynamicModule | Type)[] {
  return [
    AccountsModule,
    CartModule,
    CatalogModule.forWarehouse(config.warehouseToken),
    PaymentTermsModule.payWithin(config.payWithinMs),
    OrdersModule,
    CheckoutModule,
    PointsModule,
    CouponsModule,
    ...(config.bankUrl ? [PaymentsModule.forBank(config.bankUrl, config.operatorToken)] : []),
    ...(config.partner ? [PartnersModule.forPartner(config.partner, config.roles.has('relay'))] : []),
    SettlementModule.forOperators(config.operatorToken),
  ];
}
