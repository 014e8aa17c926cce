import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { Idempotent } from '@lockstep/idempotency';
import { Controller, Get, Header, Param, Post, Res, StreamableFile } from '@nestjs/common';
import { from, type Observable } from 'rxjs';
import { gate, ran } from './orders.controller.js';

const PDF = { type: 'application/pdf', disposition: 'attachment; filename="bill.pdf"' };

async function* lines(times: number): AsyncGenerator<object> {
  yield { line: 1, times };
  yield { line: 2, times };
}

async function* failing(after: readonly string[]): AsyncGenerator<string> {
  yield* after;
  await sleep(20);
  throw new Error('the disk is gone');
}

const results: Record<string, (times: number) => unknown> = {
  'a file of bytes': (times) => new StreamableFile(Buffer.from([0, 255, times]), PDF),
  'a file of a stream': (times) => new StreamableFile(Readable.from(['bill ', `${times}`]), PDF),
  'a file of known length': (times) => new StreamableFile(Readable.from(['bill ', `${times}`]), { ...PDF, length: 6 }),
  'a file without a type': (times) => new StreamableFile(Buffer.from(`bill ${times}`)),
  'an empty file': () => new StreamableFile(Buffer.alloc(0), PDF),
  'a readable': (times) => Readable.from(['bill ', `${times}`]),
  'a web stream': (times) => ReadableStream.from([Buffer.from(`bill ${times}`)]),
  'a generator': lines,
  'a response': (times) =>
    new Response(`bill ${times}`, {
      status: 202,
      headers: [
        ['content-type', 'text/csv'],
        ['set-cookie', 'sid=s3cret'],
      ],
    }),
  'an empty response': () => new Response(null, { status: 204 }),
  'a blob': (times) => new Blob([`bill ${times}`]),
  'a view on memory': (times) => new Uint16Array([times, 513]),
  'a stream in an object': (times) => ({ times, data: new StreamableFile(Buffer.from('bill')) }),
};

export const streamingResults = Object.keys(results);

interface Response {
  /** Express, as Node has it. */
  setHeader?(name: string, value: string): unknown;
  header(name: string, value: string): unknown;
}

@Controller('streams')
export class StreamsController {
  @Post('results/:result')
  @Idempotent()
  async result(@Param('result') result: string): Promise<unknown> {
    return results[result]?.(ran(result));
  }

  /** Past the setter of Express, which would add a charset. */
  @Post('passthrough')
  @Idempotent()
  async passthrough(@Res({ passthrough: true }) response: Response): Promise<StreamableFile> {
    if (response.setHeader) response.setHeader('Content-Type', 'text/csv');
    else response.header('Content-Type', 'text/csv');
    return new StreamableFile(Readable.from([`sku;${ran('passthrough')}`]));
  }

  @Post('typed')
  @Header('Content-Type', 'text/csv')
  @Header('Content-Disposition', 'inline')
  @Idempotent()
  async typed(): Promise<StreamableFile> {
    return new StreamableFile(Readable.from([`sku;${ran('typed')}`]), PDF);
  }

  @Post('observed')
  @Idempotent()
  observed(): Observable<StreamableFile> {
    return from([new StreamableFile(Buffer.from(`bill ${ran('observed')}`), PDF)]);
  }

  @Get('file')
  @Idempotent()
  async file(): Promise<StreamableFile> {
    ran('file');
    return new StreamableFile(Readable.from(['secret']), { ...PDF, length: 6 });
  }

  @Post('large')
  @Idempotent()
  async large(): Promise<StreamableFile> {
    ran('large-stream');
    return new StreamableFile(Readable.from(Array.from({ length: 30 }, () => Buffer.alloc(10_000, 'x'))), PDF);
  }

  @Post('fails-at-once/:kind')
  @Idempotent()
  async failsAtOnce(@Param('kind') kind: string): Promise<unknown> {
    ran(`fails-at-once ${kind}`);
    return kind === 'file' ? new StreamableFile(Readable.from(failing([])), PDF) : failing([]);
  }

  @Post('fails-within/:kind')
  @Idempotent()
  async failsWithin(@Param('kind') kind: string): Promise<unknown> {
    ran(`fails-within ${kind}`);
    const source = failing(['begun']);
    return kind === 'file' ? new StreamableFile(Readable.from(source), PDF) : source;
  }

  /** Its first piece is there at once, the rest when the gate opens. */
  @Post('slow/:name')
  @Idempotent()
  async slow(@Param('name') name: string): Promise<StreamableFile> {
    const times = ran(name);
    async function* pieces(): AsyncGenerator<string> {
      yield `begun ${times}`;
      await gate(name).opened;
      yield ', ended';
    }
    return new StreamableFile(Readable.from(pieces()), PDF);
  }

  /** The file is there when the gate opens. */
  @Post('late/:name')
  @Idempotent()
  async late(@Param('name') name: string): Promise<StreamableFile> {
    const times = ran(name);
    await gate(name).opened;
    return new StreamableFile(Readable.from([`bill ${times}`]), PDF);
  }

  @Post('late-observed/:name')
  @Idempotent()
  lateObserved(@Param('name') name: string): Observable<StreamableFile> {
    return from(this.late(name));
  }
}
