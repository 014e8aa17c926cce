import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { type Answer, type Sending, send } from './http-app.js';

/** The same request again, after the first has been answered. */
export async function twice(url: string, init: Sending = {}): Promise<readonly [Answer, Answer]> {
  const key = randomUUID();
  const first = await send(url, { key, ...init });
  return [first, await send(url, { key, ...init })];
}

const OF_ONE_REQUEST = new Set(['date', 'idempotent-replayed', 'transfer-encoding', 'content-length']);

/** Status, body and all headers but those of one request; and that the second one is marked. */
export function expectReplay([first, second]: readonly [Answer, Answer], except: readonly string[] = []): void {
  expect(second.status).toBe(first.status);
  expect(second.bytes.equals(first.bytes)).toBe(true);
  expect(second.text).toBe(first.text);
  expect(comparable(second, except)).toEqual(comparable(first, except));
  expect(first.headers.get('idempotent-replayed')).toBeNull();
  expect(second.headers.get('idempotent-replayed')).toBe('true');
}

function comparable({ headers }: Answer, except: readonly string[]): Record<string, string> {
  const left = [...headers].filter(([name]) => !OF_ONE_REQUEST.has(name) && !except.includes(name));
  return Object.fromEntries(left);
}
