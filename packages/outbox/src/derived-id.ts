import { createHash } from 'node:crypto';
import { stringify as formatUuid, parse as parseUuid } from 'uuid';

const TIME_BYTES = 6;

/**
 * The id of a message that is made because of another one: the same for the same reason, so that making it twice is
 * recognised by the inbox. A UUIDv7 with the time of its origin.
 */
export function derivedId(messageId: string, ...reason: readonly string[]): string {
  const bytes = createHash('sha256')
    .update(JSON.stringify([messageId, ...reason]))
    .digest()
    .subarray(0, 16);
  bytes.set(parseUuid(messageId).subarray(0, TIME_BYTES));
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  return formatUuid(bytes);
}
