import type { RedisConnection } from '@lockstep/redis';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** The two indexes of a bucket. */
export interface BucketKeys {
  /** Running operations of policy `'uncertain'`, by the end of their lease. */
  readonly running: string;
  /** Uncertain operations, by the time at which they became so. */
  readonly uncertain: string;
}

/**
 * Records lie in 64 buckets, each with its indexes in one hash slot, because a claim and its place in the index must
 * change in one step: the tag is the bucket, not the record. The bucket is the first character of the operation's id,
 * which is a hash.
 */
export class IdempotencyKeys {
  /** All buckets, for sweeps and listings. */
  readonly buckets: readonly BucketKeys[];

  constructor(private readonly redis: RedisConnection) {
    this.buckets = Array.from(ALPHABET, (_, index) => this.bucketKeys(index));
  }

  record(id: string): string {
    return `${this.prefix(bucketOf(id))}:${id}`;
  }

  /** Record, running, uncertain: what every change of a record touches. */
  all(id: string): readonly [string, string, string] {
    const { running, uncertain } = this.bucketKeys(bucketOf(id));
    return [this.record(id), running, uncertain];
  }

  private bucketKeys(bucket: number): BucketKeys {
    const prefix = this.prefix(bucket);
    return { running: `${prefix}:running`, uncertain: `${prefix}:uncertain` };
  }

  private prefix(bucket: number): string {
    return this.redis.key('idem', `b${String(bucket).padStart(2, '0')}`);
  }
}

/** Anything that is no hash of ours shares the first bucket, so that an operator's typing error finds nothing. */
function bucketOf(id: string): number {
  return Math.max(0, ALPHABET.indexOf(id.charAt(0)));
}

/** What stands in the indexes: the id, and what is being done, so that a listing needs no second read. */
export function indexMember(id: string, operation: string): string {
  return `${id} ${operation}`;
}

export function parseIndexMember(member: string): { readonly id: string; readonly operation: string } {
  const space = member.indexOf(' ');
  return { id: member.slice(0, space), operation: member.slice(space + 1) };
}
