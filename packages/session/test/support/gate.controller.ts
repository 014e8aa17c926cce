import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CurrentSession, type SessionRef, SessionService } from '@lockstep/session';
import {
  All,
  Controller,
  Get,
  Header,
  HttpCode,
  Inject,
  type MessageEvent,
  NotFoundException,
  Param,
  Post,
  Query,
  Redirect,
  Req,
  Res,
  Sse,
  StreamableFile,
} from '@nestjs/common';
import { Observable, of } from 'rxjs';

type RawResponse = ServerResponse;
type Reply = RawResponse & { hijack?(): void; readonly raw?: RawResponse };

export const MEGABYTE = Buffer.from(
  Uint8Array.from({ length: 1_048_576 }, (_, index) => (index * 31 + (index >> 8)) % 251),
);

/** 1 MB in chunks of odd sizes. */
export function source(): Readable {
  return Readable.from(
    (function* () {
      for (let from = 0, step = 1; from < MEGABYTE.length; from += step, step = (step * 7) % 40_009) {
        yield MEGABYTE.subarray(from, from + step);
      }
    })(),
  );
}

/** An endless one. */
export function endless(): Readable {
  return new Readable({
    read() {
      this.push(Buffer.alloc(16_384));
    },
  });
}

const WRITE_HEAD: Record<string, unknown[]> = {
  none: [],
  object: [{ 'X-Own': 'yes', 'Set-Cookie': ['own=1', 'two=2'], 'Cache-Control': 'max-age=60' }],
  flat: [['X-Own', 'yes', 'Set-Cookie', 'own=1', 'Set-Cookie', 'two=2', 'X-Many', 'a', 'X-Many', 'b']],
  message: ['As You Like'],
  'message and object': ['As You Like', { 'x-own': 'yes', 'set-cookie': 'own=1' }],
};

/** Handlers that set something and then answer in every form. */
@Controller()
export class GateController {
  /** What happens in handlers that outlive their request. */
  static readonly events = new EventEmitter();
  static opened: Promise<void> = Promise.resolve();
  static lastSource: Readable | undefined;

  constructor(@Inject(SessionService) private readonly sessions: SessionService) {}

  @Get('seen')
  seen(@CurrentSession() session: SessionRef): object {
    return { form: session.get('form') ?? null };
  }

  @All('answers/:form')
  answers(@CurrentSession() session: SessionRef, @Param('form') form: string): unknown {
    session.set('form', form);
    const answers: Record<string, () => unknown> = {
      json: () => ({ ok: true }),
      text: () => 'text',
      buffer: () => Buffer.from('buffer'),
      nothing: () => undefined,
      number: () => 7,
      streamable: () => new StreamableFile(source()),
      observable: () => of({ ok: true }),
      'not-found': () => {
        throw new NotFoundException();
      },
      defect: () => {
        throw new TypeError('a defect');
      },
    };
    return answers[form]?.();
  }

  @Post('no-content')
  @HttpCode(204)
  noContent(@CurrentSession() session: SessionRef): void {
    session.set('form', 'no-content');
  }

  @Post('not-modified')
  @HttpCode(304)
  @Header('ETag', '"a"')
  notModified(@CurrentSession() session: SessionRef): void {
    session.set('form', 'not-modified');
  }

  @Post('redirect')
  @Redirect('/elsewhere', 302)
  redirect(@CurrentSession() session: SessionRef): void {
    session.set('form', 'redirect');
  }

  @Post('passthrough')
  passthrough(
    @CurrentSession() session: SessionRef,
    @Res({ passthrough: true }) response: { header(name: string, value: string): unknown },
  ): object {
    session.set('form', 'passthrough');
    response.header('X-Own', 'yes');
    response.header('Set-Cookie', 'own=1');
    return { ok: true };
  }

  @Sse('sse')
  sse(@CurrentSession() session: SessionRef): Observable<MessageEvent> {
    session.set('form', 'sse');
    return of({ data: 'one' }, { data: 'two' });
  }

  @Post('write-head/:form')
  writeHead(@CurrentSession() session: SessionRef, @Res() response: Reply, @Param('form') form: string): void {
    session.set('form', form);
    const raw = rawOf(response);
    raw.setHeader('X-Before', 'yes');
    const writeHead = raw.writeHead.bind(raw) as (...args: unknown[]) => RawResponse;
    writeHead(202, ...(WRITE_HEAD[form] ?? [])).end(form);
  }

  @Post('raw/:form')
  async raw(@CurrentSession() session: SessionRef, @Res() response: Reply, @Param('form') form: string): Promise<void> {
    const raw = rawOf(response);
    session.set('form', form);
    const forms: Record<string, () => unknown> = {
      pipe: () => source().pipe(raw),
      pipeline: () => pipeline(source(), raw),
      generator: () =>
        pipeline(async function* () {
          for await (const chunk of source()) yield chunk as Buffer;
        }, raw),
      flush: () => {
        raw.flushHeaders();
        raw.write('a');
        raw.write('b');
        raw.end('c');
      },
      callbacks: () => {
        raw.write('a', () => raw.write('b', () => raw.end('c', () => GateController.events.emit('ended'))));
      },
      'double end': () => {
        raw.end('abc');
        raw.end('def');
        raw.end();
      },
      // As a library does that asks Node itself whether a head has left.
      'head twice': () => {
        raw.write('a');
        if (!(raw as { _header?: unknown })._header) raw.writeHead(200);
        raw.end('bc');
      },
      'bad status': () => {
        raw.writeHead(99).end('abc');
      },
      backpressure: () => {
        let held = 0;
        for (let from = 0; from < MEGABYTE.length; from += 65_536) {
          if (!raw.write(MEGABYTE.subarray(from, from + 65_536))) held += 1;
        }
        raw.once('drain', () => raw.end(() => GateController.events.emit('drained', held)));
      },
    };
    await forms[form]?.();
  }

  /** Sets after its head has left. */
  @Post('late')
  late(@CurrentSession() session: SessionRef, @Res() response: Reply, @Query('value') value: string): void {
    const raw = rawOf(response);
    raw.writeHead(200);
    raw.write('begun ');
    try {
      session.set('form', value);
      raw.end('set');
    } catch (error) {
      raw.end((error as Error).message);
    }
  }

  /** Answers, and sets something afterwards. */
  @Post('afterwards')
  afterwards(@CurrentSession() session: SessionRef, @Res() response: Reply, @Query('value') value: string): void {
    const raw = rawOf(response);
    raw.once('close', () => {
      setImmediate(() => {
        session.set('form', value);
        setImmediate(() => GateController.events.emit('set'));
      });
    });
    raw.end('done');
  }

  /** Sets once it is let go on, whether or not the client is still there. */
  @Post('slow')
  async slow(@CurrentSession() session: SessionRef, @Query('value') value: string): Promise<object> {
    GateController.events.emit('entered');
    await GateController.opened;
    session.set('form', value);
    GateController.events.emit('set');
    return { value };
  }

  @Post('endless')
  async endless(@CurrentSession() session: SessionRef, @Res() response: Reply, @Query('by') by: string): Promise<void> {
    const raw = rawOf(response);
    session.set('form', 'endless');
    const from = endless();
    GateController.lastSource = from;
    if (by === 'pipe') from.pipe(raw);
    else await pipeline(from, raw).catch((error: unknown) => GateController.events.emit('failed', error));
  }

  @Post('endless-file')
  endlessFile(@CurrentSession() session: SessionRef): StreamableFile {
    session.set('form', 'endless');
    GateController.lastSource = endless();
    return new StreamableFile(GateController.lastSource);
  }

  @Get('current')
  current(@Req() _request: unknown): object {
    return { form: this.sessions.current.get('form') ?? null };
  }
}

function rawOf(response: Reply): RawResponse {
  response.hijack?.();
  return response.raw ?? response;
}
