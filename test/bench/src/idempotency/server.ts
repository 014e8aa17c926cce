import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import type { DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';

type Variant = (redisUrl: string) => DynamicModule | Promise<DynamicModule>;

// Loaded one at a time: a peer that cannot be loaded takes nobody else down, and nobody's modules weigh on another.
const variants: Readonly<Record<string, () => Promise<Variant>>> = {
  bare: async () => (await import('./variants/bare.variant.js')).bareVariant,
  raw: async () => (await import('./variants/raw.variant.js')).rawVariant,
  ours: async () => (await import('./variants/our.variant.js')).ourVariant,
  'node-idempotency': async () => (await import('./variants/node-idempotency.variant.js')).nodeIdempotencyVariant,
  'express-idempotency': async () =>
    (await import('./variants/express-idempotency.variant.js')).expressIdempotencyVariant,
};

const [name = '', redisUrl = ''] = process.argv.slice(2);
const variant = await variants[name]?.();
if (variant === undefined) throw new Error(`Error: no variant ${name}`);
const app = await NestFactory.create<NestExpressApplication>(await variant(redisUrl), { logger: ['error'] });
app.set('etag', false);
process.stdin.resume().on('end', () => process.exit()); // the bench is gone, however it ended
await app.listen(0, '127.0.0.1');
app.getHttpServer().keepAliveTimeout = 0; // a connection idles while the other contestants have their turn
console.log(`listening on ${(app.getHttpServer().address() as AddressInfo).port}`);
