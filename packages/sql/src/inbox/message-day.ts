import { MessageIdInvalidError } from '../sql.errors.js';

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
const DAY_MS = 86_400_000;
const END_OF_CALENDAR = Date.UTC(10_000, 0);

/**
 * The UTC day on which the message was made, `2026-11-21`, from the time in its id.
 *
 * @throws MessageIdInvalidError when it is no UUID of version 7, or its year has more than four digits
 */
export function messageDay(messageId: string): string {
  if (typeof messageId !== 'string' || !UUID_V7.test(messageId)) throw new MessageIdInvalidError();
  const madeAt = Number.parseInt(messageId.slice(0, 8) + messageId.slice(9, 13), 16);
  if (madeAt >= END_OF_CALENDAR) throw new MessageIdInvalidError();
  return nameOfDay(Math.floor(madeAt / DAY_MS));
}

let latest = { day: Number.NaN, name: '' };

/** Messages come from the same day for a day. */
function nameOfDay(day: number): string {
  if (day !== latest.day) latest = { day, name: new Date(day * DAY_MS).toISOString().slice(0, 10) };
  return latest.name;
}
