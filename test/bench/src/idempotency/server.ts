import 'reflect-metadata';
import type { DynamicModule } from '@nestjs/common';
import { createNest, type Platform, serveBench } from '../harness/nest-server.js';

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
await serveBench(await createNest(await variant(redisUrl), platform as Platform));
