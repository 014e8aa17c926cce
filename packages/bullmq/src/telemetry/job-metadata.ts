import type { CarriedHeaders } from '@lockstep/core';

export interface JobMetadata {
  readonly headers: CarriedHeaders;
  /** What another telemetry wrote. */
  readonly inner: string | undefined;
}

/** Three headers of 1 KiB and a trace are less; whatever is longer was not written here. */
const LONGEST = 16_384;

export function encodeMetadata({ headers, inner }: JobMetadata): string {
  return JSON.stringify(inner === undefined ? { lockstep: headers } : { lockstep: headers, inner });
}

/** Never throws: BullMQ would leave the job lying. What was not written here is the other telemetry's. */
export function decodeMetadata(text: string): JobMetadata {
  const foreign = { headers: {}, inner: text };
  if (typeof text !== 'string' || text.length > LONGEST) return foreign;
  const { lockstep, inner } = parsed(text);
  if (typeof lockstep !== 'object' || lockstep === null || Array.isArray(lockstep)) return foreign;
  const headers = Object.entries(lockstep).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  return { headers: Object.fromEntries(headers), inner: typeof inner === 'string' ? inner : undefined };
}

function parsed(text: string): { readonly lockstep?: unknown; readonly inner?: unknown } {
  try {
    return Object(JSON.parse(text)) as object;
  } catch {
    return {};
  }
}
