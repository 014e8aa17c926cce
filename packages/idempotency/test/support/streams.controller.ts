import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { Idempotent } from '@lockstep/idempotency';
import { Controller, Get, Header, Param, Post, StreamableFile } from '@nestjs/common';
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

@Controller('streams')
export class StreamsController {
  @Post('results/:result')
  @Idempotent()
  async result(@Param('result') result: string): Promise<unknown> {
    return results[result]?.(ran(result));
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

  @Post('fails-at-once')
  @Idempotent()
  async failsAtOnce(): Promise<StreamableFile> {
    ran('fails-at-once');
    return new StreamableFile(Readable.from(failing([])), PDF);
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
