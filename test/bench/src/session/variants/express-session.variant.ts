import { createRequire } from 'node:module';
import type { Variant } from '../server.js';
import { BlobController } from './blob.controller.js';
import { connectRedisStore } from './connect-redis-store.js';
import { SECRET } from './secret.js';

type ExpressSession = (options: object) => (request: object, response: object, next: () => void) => void;

class PeerModule {}

export async function expressSessionVariant(redisUrl: string): Promise<Variant> {
  const session = createRequire(import.meta.url)('express-session') as ExpressSession;
  const store = await connectRedisStore(redisUrl);
  const options = { secret: SECRET, store, resave: false, saveUninitialized: false, cookie: { secure: true } };
  return {
    module: { module: PeerModule, controllers: [BlobController] },
    mount: (app) => {
      app.use(session({ ...options, proxy: true }));
    },
  };
}
