import { LockstepError } from '@lockstep/core';
import { Idempotent, NotApplied, OutcomeUnknown } from '@lockstep/idempotency';
import {
  Body,
  Controller,
  Get,
  Header,
  HttpCode,
  HttpException,
  NotFoundException,
  Param,
  ParseIntPipe,
  Post,
  Redirect,
  Res,
  StreamableFile,
} from '@nestjs/common';
import { Observable, of } from 'rxjs';
import { delay } from 'rxjs/operators';

/** What Express and Fastify responses have in common. */
interface AnyResponse {
  status(code: number): unknown;
  header(name: string, value: string): unknown;
}

/** Counts runs of each handler, and lets a test hold one open. */
export const runs = new Map<string, number>();
const gates = new Map<string, { readonly open: () => void; readonly opened: Promise<void> }>();

export function gate(name: string): { readonly open: () => void; readonly opened: Promise<void> } {
  let found = gates.get(name);
  if (!found) {
    const { promise, resolve } = deferred();
    found = { open: resolve, opened: promise };
    gates.set(name, found);
  }
  return found;
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

export function ran(name: string): number {
  const times = (runs.get(name) ?? 0) + 1;
  runs.set(name, times);
  return times;
}

/** As `class-transformer` would see it: the serializer drops what must not leave the house. */
export class Account {
  constructor(
    readonly id: number,
    readonly password: string,
  ) {}
}

class UnavailableLock extends LockstepError {
  constructor(kind: 'busy' | 'unknown') {
    super({ code: 'LOCK_TEST', kind, message: 'a guarantee inside refused' });
  }
}

@Controller('orders')
export class OrdersController {
  @Post()
  @Idempotent()
  async place(@Body() body: { readonly sku?: string }): Promise<object> {
    const times = ran('place');
    return { times, sku: body?.sku, at: new Date(0), 'z-last': 1, 10: 'ten' };
  }

  @Post('held/:name')
  @Idempotent()
  async held(@Param('name') name: string): Promise<object> {
    const times = ran(name);
    await gate(name).opened;
    return { times };
  }

  @Post('optional')
  @Idempotent({ required: false })
  async optional(): Promise<object> {
    return { times: ran('optional') };
  }

  @Post('status')
  @Header('Cache-Control', 'private')
  @Idempotent()
  async status(@Res({ passthrough: true }) response: AnyResponse): Promise<object> {
    response.status(207);
    response.header('Location', '/orders/7');
    response.header('Set-Cookie', 'sid=secret');
    response.header('X-Internal', 'not listed');
    return { times: ran('status') };
  }

  @Post('nothing')
  @HttpCode(204)
  @Idempotent()
  async nothing(): Promise<void> {
    ran('nothing');
  }

  @Post('text')
  @Idempotent()
  async text(): Promise<string> {
    return `text ${ran('text')} ✓`;
  }

  @Post('null')
  @Idempotent()
  async null(): Promise<null> {
    ran('null');
    return null;
  }

  @Post('number')
  @Idempotent()
  async number(): Promise<number> {
    return ran('number');
  }

  @Post('date')
  @Idempotent()
  async date(): Promise<Date> {
    return new Date(ran('date'));
  }

  @Post('list')
  @Idempotent()
  async list(): Promise<readonly unknown[]> {
    return [ran('list'), null, 'text', { nested: [undefined] }];
  }

  @Post('bytes')
  @Header('Content-Type', 'image/png')
  @Idempotent()
  async bytes(): Promise<Buffer> {
    return Buffer.from([0, 255, ran('bytes'), 13, 10]);
  }

  @Post('stream')
  @Idempotent()
  async stream(): Promise<StreamableFile> {
    return new StreamableFile(Buffer.from(`stream ${ran('stream')}`));
  }

  @Post('large')
  @Idempotent()
  async large(): Promise<object> {
    return { times: ran('large'), text: 'x'.repeat(300_000) };
  }

  @Post('observable')
  @Idempotent()
  observable(): Observable<object> {
    return of({ times: ran('observable') }).pipe(delay(20));
  }

  @Post('redirect')
  @Redirect('/elsewhere', 303)
  @Idempotent()
  async redirect(): Promise<object> {
    return { url: `/orders/${ran('redirect')}` };
  }

  @Post('pipes/:id')
  @Idempotent()
  async pipes(@Param('id', ParseIntPipe) id: number): Promise<object> {
    return { id, times: ran('pipes') };
  }

  @Post('missing')
  @Idempotent()
  async missing(): Promise<never> {
    throw new NotFoundException({ code: 'NO_SUCH_SKU', times: ran('missing') });
  }

  @Post('teapot')
  @Idempotent()
  async teapot(): Promise<never> {
    throw new HttpException(`short and stout ${ran('teapot')}`, 418);
  }

  @Post('conflict')
  @Idempotent()
  async conflict(): Promise<never> {
    throw new HttpException({ times: ran('conflict') }, 409);
  }

  @Post('broken')
  @Idempotent()
  async broken(): Promise<never> {
    throw new Error(`broken ${ran('broken')}`);
  }

  @Post('broken-retry')
  @Idempotent({ onLeaseExpiry: 'retry' })
  async brokenRetry(): Promise<object> {
    if (ran('broken-retry') === 1) throw new Error('broken');
    return { times: runs.get('broken-retry') };
  }

  @Post('not-applied')
  @Idempotent()
  async notApplied(): Promise<never> {
    ran('not-applied');
    throw new NotApplied(new HttpException('partner refused', 502));
  }

  @Post('outcome-unknown')
  @Idempotent({ onLeaseExpiry: 'retry' })
  async outcomeUnknown(): Promise<never> {
    ran('outcome-unknown');
    throw new OutcomeUnknown(new HttpException('partner did not answer', 504));
  }

  @Post('inner-busy')
  @Idempotent()
  async innerBusy(): Promise<never> {
    ran('inner-busy');
    throw new UnavailableLock('busy');
  }

  @Post('inner-unknown')
  @Idempotent({ onLeaseExpiry: 'retry' })
  async innerUnknown(): Promise<never> {
    ran('inner-unknown');
    throw new UnavailableLock('unknown');
  }

  @Post('account')
  @Idempotent()
  async account(): Promise<Account> {
    return new Account(ran('account'), 's3cret');
  }

  @Get('plain')
  async plain(): Promise<object> {
    return { plain: true };
  }
}
