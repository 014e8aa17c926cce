import { randomBytes } from 'node:crypto';

const PREFIX = randomBytes(12).toString('base64url');
let count = 0;

/**
 * A token that no other request has, in this process or another: 16 random characters of the process, and a count. It is
 * made for every acquisition and sent with every command; a UUID is longer and costs eight times as much.
 */
export function ownerToken(): string {
  count += 1;
  return `${PREFIX}.${count.toString(36)}`;
}
