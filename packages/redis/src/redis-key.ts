import { createHash } from 'node:crypto';

/** Longer ones are hashed: a key is sent with every command and kept for every entity. */
const LONGEST_ENTITY = 200;
/** What may stand between the braces as it is: no brace that ends the tag, no control character, no half of a pair. */
const PLAIN = /^[^%}\p{Cc}\p{Surrogate}]+$/u;
const LONE_SURROGATE = /\p{Surrogate}/u;
const ESCAPED = /[%}\p{Cc}]/gu;

/**
 * `<namespace>:<kind>:{<entity>}`. The entity is the hash tag, so everything about one entity shares a slot of a
 * Cluster and different entities spread over it. Different entities never give the same key.
 */
export function redisKey(namespace: string, kind: string, entity: string): string {
  return `${namespace}:${kind}:{${hashTag(entity)}}`;
}

function hashTag(entity: string): string {
  if (entity.length <= LONGEST_ENTITY) {
    if (PLAIN.test(entity)) return entity;
    // An empty tag is no tag. A lone % is what no escaped entity looks like.
    if (entity === '') return '%';
    if (!LONE_SURROGATE.test(entity)) return entity.replace(ESCAPED, percentEncoded);
  }
  // UTF-16 keeps apart what UTF-8 would turn into the same replacement character.
  return `%h${createHash('sha256').update(Buffer.from(entity, 'utf16le')).digest('base64url')}`;
}

function percentEncoded(character: string): string {
  return `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
