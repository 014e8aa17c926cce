import { type DynamicModule, Global, Module } from '@nestjs/common';

/** How long an order waits for its payment, in milliseconds. */
export const PAY_WITHIN_MS = Symbol('mall:PAY_WITHIN_MS');

@Global()
@Module({})
export class PaymentTermsModule {
  static payWithin(ms: number): DynamicModule {
    return {
      module: PaymentTermsModule,
      providers: [{ provide: PAY_WITHIN_MS, useValue: ms }],
      exports: [PAY_WITHIN_MS],
    };
  }
}
