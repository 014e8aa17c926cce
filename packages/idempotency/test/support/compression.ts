import type { IncomingMessage, ServerResponse } from 'node:http';
import { PassThrough, pipeline, Readable } from 'node:stream';
import { createGzip, gzipSync } from 'node:zlib';
import type { INestApplication } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';

/** What middlewares that compress do: they stand in front of the response, and decide when the head is written. */
function compressing(request: IncomingMessage, response: ServerResponse, next: () => void): void {
  if (String(request.headers['accept-encoding']).includes('gzip')) compress(response);
  next();
}

function compress(response: ServerResponse): void {
  const end = response.end.bind(response);
  const writeHead = response.writeHead.bind(response);
  const write = response.write.bind(response);
  const gzip = createGzip();
  const decide = (status: number): void => {
    response.setHeader('Content-Encoding', 'gzip');
    response.removeHeader('Content-Length');
    writeHead(status);
  };
  gzip.on('data', (chunk: Buffer) => write(chunk));
  gzip.on('end', () => end());
  response.writeHead = ((status: number) => {
    if (!response.headersSent) decide(status);
    return response;
  }) as ServerResponse['writeHead'];
  response.write = ((chunk: string | Buffer) => {
    response.writeHead(response.statusCode);
    return gzip.write(chunk);
  }) as ServerResponse['write'];
  response.end = ((chunk?: string | Buffer) => {
    response.writeHead(response.statusCode);
    gzip.end(chunk);
    return response;
  }) as ServerResponse['end'];
}

/** What plugins of Fastify that compress do: they see a payload after it was serialized. */
function compressPayloads(app: NestFastifyApplication): void {
  app
    .getHttpAdapter()
    .getInstance()
    .addHook('onSend', async (request, reply, payload) => {
      const isText = typeof payload === 'string' || Buffer.isBuffer(payload);
      const isStream = payload instanceof Readable;
      if (!String(request.headers['accept-encoding']).includes('gzip') || !(isText || isStream)) return payload;
      void reply.header('Content-Encoding', 'gzip').removeHeader('Content-Length');
      return isStream ? pipeline(payload, createGzip(), new PassThrough(), () => undefined) : gzipSync(payload);
    });
}

export function useCompression(app: INestApplication, platform: 'express' | 'fastify'): void {
  if (platform === 'express') app.use(compressing);
  else compressPayloads(app as NestFastifyApplication);
}
