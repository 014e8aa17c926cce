import { Readable } from 'node:stream';
import { CurrentSession, SessionAttr, type SessionRef } from '@lockstep/session';
import {
  Body,
  Controller,
  Get,
  HttpException,
  Param,
  Post,
  Query,
  Redirect,
  Req,
  Res,
  Session,
  StreamableFile,
} from '@nestjs/common';

/** Handlers of every form that write to the session. */
@Controller()
export class ShopController {
  /** Requests that wait here go on when `release` is called. */
  static readonly gates = new Map<string, { entered: () => void; opened: Promise<void> }>();

  static gate(): { readonly name: string; readonly entered: Promise<void>; open(): void } {
    const name = String(ShopController.gates.size);
    const { promise: opened, resolve: open } = settled();
    const { promise: entered, resolve: enter } = settled();
    ShopController.gates.set(name, { entered: enter, opened });
    return { name, entered, open };
  }

  @Get('read/:name')
  read(@CurrentSession() session: SessionRef, @Param('name') name: string): object {
    return { value: session.get(name) ?? null, principal: session.principal?.id ?? null, exists: session.exists };
  }

  @Get('attr')
  attr(@SessionAttr('color') color: string | undefined): object {
    return { color: color ?? null };
  }

  @Post('set/:name')
  set(@CurrentSession() session: SessionRef, @Param('name') name: string, @Body() body: { value: unknown }): object {
    session.set(name, body.value);
    return { ok: true };
  }

  /** Sets after it was let go on. */
  @Post('slow/:name')
  async slow(
    @CurrentSession() session: SessionRef,
    @Param('name') name: string,
    @Query('gate') gate: string,
  ): Promise<object> {
    const { entered, opened } = ShopController.gates.get(gate) ?? {};
    entered?.();
    await opened;
    session.set(name, 'slow');
    return { ok: true };
  }

  @Post('native')
  native(@Session() session: Record<string, unknown>, @Body() body: Record<string, unknown>): object {
    Object.assign(session, body);
    return { keys: Object.keys(session) };
  }

  @Get('native')
  seen(@Session() session: Record<string, unknown>): object {
    return { ...session };
  }

  @Post('in-place')
  inPlace(@Session() session: Record<string, string[]>): object {
    session['cart'] ??= [];
    session['cart'].push('tea');
    return session['cart'];
  }

  @Post('throws')
  throws(@CurrentSession() session: SessionRef): never {
    session.set('form', 'throws');
    throw new HttpException('no', 418);
  }

  @Post('res')
  res(@CurrentSession() session: SessionRef, @Res() response: { send(body: unknown): unknown }): void {
    session.set('form', 'res');
    response.send({ by: 'res' });
  }

  @Post('raw')
  raw(@CurrentSession() session: SessionRef, @Res() response: RawReply): void {
    session.set('form', 'raw');
    response.hijack?.();
    const raw = response.raw ?? response;
    raw.writeHead(201, { 'X-Own': 'yes', 'Set-Cookie': 'own=1' });
    raw.write('{"by":');
    raw.end('"raw"}');
  }

  @Post('stream')
  stream(@CurrentSession() session: SessionRef): StreamableFile {
    session.set('form', 'stream');
    return new StreamableFile(Readable.from(['a'.repeat(70_000), 'b'.repeat(70_000), 'c']));
  }

  @Post('redirect')
  @Redirect('/elsewhere', 303)
  redirect(@CurrentSession() session: SessionRef): void {
    session.set('form', 'redirect');
  }

  @Post('login/:id')
  async login(@CurrentSession() session: SessionRef, @Param('id') id: string): Promise<object> {
    await session.login({ id }, { amr: ['pwd'] });
    return { handle: session.handle };
  }

  @Post('logout')
  async logout(@CurrentSession() session: SessionRef): Promise<object> {
    await session.logout();
    return { ok: true };
  }

  @Post('rotate')
  async rotate(@CurrentSession() session: SessionRef): Promise<object> {
    await session.rotate();
    return { ok: true };
  }

  @Post('count')
  async count(@CurrentSession() session: SessionRef): Promise<object> {
    return { count: await session.update<number>('count', (count = 0) => count + 1) };
  }

  @Post('count/:name')
  async countIn(@CurrentSession() session: SessionRef, @Param('name') name: string): Promise<object> {
    return { count: await session.update<number>(name, (count = 0) => count + 1) };
  }

  @Get('late')
  late(@Req() request: { session: Record<string, unknown> }): object {
    return { has: 'color' in request.session };
  }
}

function settled(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

interface RawReply {
  hijack?(): void;
  readonly raw?: RawReply;
  writeHead(status: number, headers: object): void;
  write(text: string): void;
  end(text: string): void;
}

/** A gate for {@link ShopController.slow}. */
export function held(): { name: string; entered: Promise<void>; open: () => void } {
  const name = String(ShopController.gates.size);
  let open = (): void => undefined;
  let enter = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const entered = new Promise<void>((resolve) => {
    enter = resolve;
  });
  ShopController.gates.set(name, { entered: enter, opened });
  return { name, entered, open };
}
