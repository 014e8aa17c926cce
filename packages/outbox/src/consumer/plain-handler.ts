import type { Message } from '../message.js';
import type { MessageRoute } from '../message-transport.js';
import type { MessageHandler } from './message-handler.js';
import { type OnMessageOptions, resolveOnMessageOptions } from './on-message.options.js';

/**
 * A handler of Lockstep's own, for {@link ConsumerStarter}: a function instead of a method with `@OnMessage`, without
 * Nest's guards, pipes, interceptors and filters. Everything else is the same: one transaction with the inbox row, found
 * by `sql.current()`; attempts, backoff and dead letters. May consume a topic below `lockstep.`.
 *
 * @param name for logs and spans
 */
export function plainHandler(
  name: string,
  { topic, consumer }: MessageRoute,
  run: (message: Message) => Promise<unknown>,
  options: Omit<OnMessageOptions, 'consumer'> = {},
): MessageHandler {
  return {
    route: { topic, consumer },
    name,
    options: resolveOnMessageOptions({ ...options, consumer }),
    invoke: async (messages) => {
      const results: unknown[] = [];
      for (const message of messages) results.push(await run(message));
      return results;
    },
    filter: async (_messages, error) => error,
  };
}
