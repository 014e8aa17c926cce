import { createRequire } from 'node:module';
import type { INestApplication } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Variant } from '../server.js';
import { BlobController } from './blob.controller.js';
import { connectRedisStore } from './connect-redis-store.js';
import { SECRET } from './secret.js';

type Plugin = Parameters<NestFastifyApplication['register']>[0];

class PeerModule {}

/** With its own defaults: each answer writes the session and sends the cookie (`rolling`). */
export async function fastifySessionVariant(redisUrl: string): Promise<Variant> {
  const require = createRequire(import.meta.url);
  const store = await connectRedisStore(redisUrl);
  return {
    module: { module: PeerModule, controllers: [BlobController] },
    mount: async (app: INestApplication) => {
      const fastify = app as NestFastifyApplication;
      await fastify.register(require('@fastify/cookie') as Plugin);
      await fastify.register(require('@fastify/session') as Plugin, { secret: SECRET, store });
    },
  };
}
