import 'reflect-metadata';
import type { RedisConnection } from '@lockstep/redis';
import { seed, seededRandom } from '@lockstep/testing';
import { useRedis } from '@lockstep/testing/vitest';
import calculateSlot from 'cluster-key-slot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Opened, openConnection } from './support/open-connection.js';

const server = useRedis();
let opened: Opened;
let redis: RedisConnection;
beforeAll(async () => {
  opened = await openConnection({ url: server.url }, 'mall');
  redis = opened.connection;
});
afterAll(() => opened.app.close());

const AWKWARD = [
  '',
  '{',
  '}',
  '{}',
  '}{',
  '%',
  '%7d',
  '%h',
  '\u0000',
  '\n',
  '\ud800',
  '\ud801',
  'ü',
  '🔒',
  ':',
  '{a}b',
];

/** As Redis defines it: from the first brace to the first one that closes, and nothing may follow in our keys. */
function hashTag(key: string): string {
  const open = key.indexOf('{');
  return key.slice(open + 1, key.indexOf('}', open));
}

describe('a key', () => {
  it('has the entity as its hash tag', () => {
    expect(redis.key('lock', 'sku:42')).toBe('mall:lock:{sku:42}');
  });

  it('shares the slot of everything else about its entity, whatever the entity', () => {
    for (const entity of [...AWKWARD, 'x'.repeat(10_000)]) {
      const tag = hashTag(redis.key('lock', entity));
      expect(tag).not.toBe('');
      expect(hashTag(`${redis.key('idem', entity)}:queue`)).toBe(tag);
      expect(calculateSlot(redis.key('lock', entity))).toBe(calculateSlot(tag));
    }
  });

  it('differs when the entity does, as bytes too', () => {
    const random = seededRandom(seed());
    const long = (last: string): string => 'x'.repeat(300) + last;
    const entities = new Set([...AWKWARD, ...AWKWARD.map(long)]);
    for (let n = 0; n < 5_000; n += 1) {
      entities.add(Array.from({ length: random.integer(1, 8) }, () => random.pick(AWKWARD)).join(''));
    }
    const keys = new Set([...entities].map((entity) => Buffer.from(redis.key('k', entity)).toString('hex')));
    expect(keys.size).toBe(entities.size);
  });

  it('stays short, however long the entity', () => {
    expect(redis.key('lock', 'x'.repeat(1_000_000)).length).toBeLessThan(100);
  });
});
