import { randomBytes } from 'node:crypto';

/**
 * Owner tokens: 16 random characters, which no other process has, then a count. Made for every acquisition and sent with every
 * command, so they are shorter than a UUID and cost less.
 */
export class OwnerTokens {
  private readonly prefix = randomBytes(12).toString('base64url');
  private count = 0;

  next(): string {
    this.count += 1;
    return `${this.prefix}.${this.count.toString(36)}`;
  }
}
