import type { RedisConnection, RedisScript, ScriptDefinition } from '@lockstep/redis';
import { type CartLines, MAX_LINES, MAX_PIECES } from './cart.js';
import { CART_TTL_MS, type CartChange, type CartStore, CHANGE_TTL_MS } from './cart-store.js';

/** One hash for each customer. A change is one command, and those of one tick travel together. */
export class RedisCartStore implements CartStore {
  private readonly changes: RedisScript<CartChange, CartLines | 'full'>;

  constructor(private readonly redis: RedisConnection) {
    this.changes = redis.script(changeScript(redis));
  }

  async read(customer: string): Promise<CartLines> {
    const reply = await this.redis.command('cart.read', 'hgetall', this.redis.key('cart', customer));
    // The client makes an object of it.
    return numbers(Object.entries(reply as Record<string, string>));
  }

  change(change: CartChange): Promise<CartLines | 'full'> {
    return this.changes.run(change);
  }
}

function changeScript(redis: RedisConnection): ScriptDefinition<CartChange, CartLines | 'full'> {
  return {
    name: 'cart.change',
    source: new URL('./scripts/change-cart.lua', import.meta.url),
    constants: { MAX_PIECES, MAX_LINES, CART_TTL_MS, CHANGE_TTL_MS },
    keyCount: 2,
    argCount: 3,
    keys: ({ customer }) => [redis.key('cart', customer), redis.key('cart-changes', customer)],
    args: ({ pieces, isStrict, once }) => [once ?? '', isStrict ? 'S' : 'F', JSON.stringify(pieces)],
    read: (reply) => (reply === 'full' ? reply : linesOf(reply)),
  };
}

function linesOf(reply: unknown): CartLines {
  const flat = reply as readonly string[];
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] as string, flat[at + 1] as string]);
  return numbers(pairs);
}

function numbers(pairs: readonly [string, string][]): CartLines {
  return Object.fromEntries(pairs.map(([sku, pieces]) => [sku, Number(pieces)]));
}
