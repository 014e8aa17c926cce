import type { AddressInfo } from 'node:net';
import type { DynamicModule, INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';

export type Platform = 'express' | 'fastify';

export interface NestServerOptions {
  /** As behind something that ends TLS: who asked, and how, is what its headers say. @default false */
  readonly trustProxy?: boolean;
}

/** A quiet application that answers without an ETag, on either platform. */
export async function createNest(
  module: DynamicModule,
  platform: Platform,
  { trustProxy = false }: NestServerOptions = {},
): Promise<INestApplication> {
  if (platform === 'express') {
    const express = await NestFactory.create<NestExpressApplication>(module, { logger: ['error'] });
    express.set('etag', false);
    express.set('trust proxy', trustProxy);
    return express;
  }
  // Loaded only here: the other platform's modules shall not weigh on the measured one.
  const { FastifyAdapter } = await import('@nestjs/platform-fastify');
  return NestFactory.create(module, new FastifyAdapter({ trustProxy }), { logger: ['error'] });
}

/** Listens, says so to the bench that started this process, and ends with it. */
export async function serveBench(app: INestApplication): Promise<void> {
  process.stdin.resume().on('end', () => process.exit()); // the bench is gone, however it ended
  await app.listen(0, '127.0.0.1');
  app.getHttpServer().keepAliveTimeout = 0; // a connection idles while the other contestants have their turn
  console.log(`listening on ${(app.getHttpServer().address() as AddressInfo).port}`);
}
