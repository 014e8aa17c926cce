import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import type { DynamicModule, INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Platform } from './server-contestant.js';

type Variant = (redisUrl: string) => DynamicModule | Promise<DynamicModule>;

// Loaded one at a time: a peer that cannot be loaded takes nobody else down, and nobody's modules weigh on another.
const variants: Readonly<Record<string, () => Promise<Variant>>> = {
  context: async () => (await import('./variants/context.variant.js')).contextVariant,
  'no-op': async () => (await import('./variants/no-op.variant.js')).noOpVariant,
  bare: async () => (await import('./variants/bare.variant.js')).bareVariant,
  raw: async () => (await import('./variants/raw.variant.js')).rawVariant,
  ours: async () => (await import('./variants/our.variant.js')).ourVariant,
  'node-idempotency': async () => (await import('./variants/node-idempotency.variant.js')).nodeIdempotencyVariant,
  'express-idempotency': async () =>
    (await import('./variants/express-idempotency.variant.js')).expressIdempotencyVariant,
};

const [name = '', redisUrl = '', platform = 'express'] = process.argv.slice(2);
const variant = await variants[name]?.();
if (variant === undefined) throw new Error(`Error: no variant ${name}`);
const app = await create(await variant(redisUrl), platform as Platform);
process.stdin.resume().on('end', () => process.exit()); // the bench is gone, however it ended
await app.listen(0, '127.0.0.1');
app.getHttpServer().keepAliveTimeout = 0; // a connection idles while the other contestants have their turn
console.log(`listening on ${(app.getHttpServer().address() as AddressInfo).port}`);

async function create(module: DynamicModule, on: Platform): Promise<INestApplication> {
  if (on === 'express') {
    const express = await NestFactory.create<NestExpressApplication>(module, { logger: ['error'] });
    express.set('etag', false);
    return express;
  }
  // Loaded only here: the other platform's modules shall not weigh on the measured one.
  const { FastifyAdapter } = await import('@nestjs/platform-fastify');
  return NestFactory.create(module, new FastifyAdapter(), { logger: ['error'] });
}
