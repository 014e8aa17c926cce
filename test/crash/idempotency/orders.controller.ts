import { Idempotent } from '@lockstep/idempotency';
import { Body, Controller, Headers, Inject, Post, Res } from '@nestjs/common';
import { Cashier, locationOf, type Receipt } from './cashier.js';
import { type Order, SENT_AT, WAIT_MS } from './routes.js';

interface HeaderSink {
  setHeader(name: string, value: string): unknown;
}

const WAIT = { onConcurrent: { wait: WAIT_MS } } as const;

/** One route for each way to be idempotent: see `routes.ts`. */
@Controller()
export class OrdersController {
  constructor(@Inject(Cashier) private readonly cashier: Cashier) {}

  @Post('cautious')
  @Idempotent()
  cautious(@Body() order: Order, @Headers(SENT_AT) at: string, @Res({ passthrough: true }) sink: object) {
    return this.serve(order, at, sink as HeaderSink);
  }

  @Post('patient')
  @Idempotent(WAIT)
  patient(@Body() order: Order, @Headers(SENT_AT) at: string, @Res({ passthrough: true }) sink: object) {
    return this.serve(order, at, sink as HeaderSink);
  }

  @Post('recovered')
  @Idempotent(WAIT)
  recovered(@Body() order: Order, @Headers(SENT_AT) at: string, @Res({ passthrough: true }) sink: object) {
    return this.serve(order, at, sink as HeaderSink);
  }

  @Post('eager')
  @Idempotent({ onLeaseExpiry: 'retry' })
  eager(@Body() order: Order, @Headers(SENT_AT) at: string, @Res({ passthrough: true }) sink: object) {
    return this.serve(order, at, sink as HeaderSink);
  }

  @Post('keen')
  @Idempotent({ ...WAIT, onLeaseExpiry: 'retry' })
  keen(@Body() order: Order, @Headers(SENT_AT) at: string, @Res({ passthrough: true }) sink: object) {
    return this.serve(order, at, sink as HeaderSink);
  }

  private async serve(order: Order, sentAt: string, sink: HeaderSink): Promise<Receipt> {
    const receipt = await this.cashier.serve(order, Number(sentAt));
    sink.setHeader('location', locationOf(receipt));
    return receipt;
  }
}
