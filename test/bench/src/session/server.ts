import 'reflect-metadata';
import type { DynamicModule, INestApplication } from '@nestjs/common';
import { createNest, type Platform, serveBench } from '../harness/nest-server.js';

export interface Variant {
  readonly module: DynamicModule;
  /** Puts into the application what is no Nest module. */
  mount?(app: INestApplication): void | Promise<void>;
}

// Loaded one at a time: a peer that cannot be loaded takes nobody else down, and nobody's modules weigh on another.
const variants: Readonly<Record<string, () => Promise<(redisUrl: string) => Variant | Promise<Variant>>>> = {
  raw: async () => (await import('./variants/raw.variant.js')).rawVariant,
  context: async () => (await import('./variants/context.variant.js')).contextVariant,
  ours: async () => (await import('./variants/our.variant.js')).ourVariant,
  'express-session': async () => (await import('./variants/express-session.variant.js')).expressSessionVariant,
  '@fastify/session': async () => (await import('./variants/fastify-session.variant.js')).fastifySessionVariant,
};

const [name = '', redisUrl = '', platform = 'express'] = process.argv.slice(2);
const open = await variants[name]?.();
if (open === undefined) throw new Error(`Error: no variant ${name}`);
const { module, mount } = await open(redisUrl);
const app = await createNest(module, platform as Platform, { trustProxy: true });
await mount?.(app);
await serveBench(app);
